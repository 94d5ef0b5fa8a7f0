import type { Live, LogLines, Subscription } from '@impgem/client';
import { LogBuffer } from './log-buffer.js';
import { PART_LINES, around, fewerLines, isLong } from './log-part.js';

/** What a source needs of the page around it. */
export interface LogSourceOptions {
  live: Live;
  build: number;
  step: number;
  /** Where some lines of the log lie. */
  locate: (query: { lines?: string; tail?: number }) => Promise<LogLines>;
  /** What the log has by now. */
  bytes: number;
  /** The line to begin at, in a long log; else its end. */
  line: number | undefined;
}

/**
 * The log of one step as the page reads it: the buffer, and a version that grows with it. A log that is long by the
 * time it is opened is read in parts, the last one first; the last one grows as long as the step writes.
 */
export class LogSource {
  #buffer = new LogBuffer();
  #part: LogLines | undefined;
  #target: number | undefined;
  #version = 0;
  #error: Error | undefined;
  #subscription: Subscription | undefined;
  #listeners = new Set<() => void>();
  #waiting = false;
  /** Of the part that is wanted; what comes of earlier ones is void. */
  #wish = 0;

  constructor(private readonly options: LogSourceOptions) {}

  get buffer(): LogBuffer {
    return this.#buffer;
  }
  get error(): Error | undefined {
    return this.#error;
  }
  /** The part that is shown of a long log; absent while all of it is. */
  get part(): LogLines | undefined {
    return this.#part;
  }
  /** The line for which the part was chosen. */
  get target(): number | undefined {
    return this.#target;
  }
  /** Lines to show: what came along with the last of a part belongs to the next. */
  get count(): number {
    const { dropped, count } = this.#buffer;
    const part = this.#part;
    return part && !this.isAtEnd ? Math.min(count, part.last - dropped) : count;
  }
  /** The end of the log is in what is shown, or will be. */
  get isAtEnd(): boolean {
    return !this.#part || this.#part.last >= this.#part.total;
  }
  /** All is there that will be: the whole log, or a part with others behind it. */
  get isRead(): boolean {
    return this.#buffer.complete || this.#isFull();
  }

  /** For `useSyncExternalStore`: reading goes on while somebody listens. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (!this.#subscription) this.#begin();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#wish += 1;
      this.#subscription?.close();
      this.#subscription = undefined;
    };
  };
  readonly version = (): number => this.#version;

  /** Shows the part of a long log that has this line, unless it is here; without one, the end. */
  show(line?: number): void {
    if (!this.#part) return;
    const { dropped, count } = this.#buffer;
    const isHere = line !== undefined && line > dropped && line <= dropped + count;
    if (!isHere) void this.#open(line);
  }

  #begin(): void {
    if (this.#part || !isLong(this.options.bytes)) this.#read();
    else void this.#open(this.options.line);
  }

  async #open(line: number | undefined): Promise<void> {
    const wish = ++this.#wish;
    try {
      const part = await this.#locate(line);
      if (wish !== this.#wish) return;
      this.#part = part;
      this.#target = line;
      this.#buffer = new LogBuffer(undefined, { lines: part.first - 1, bytes: part.from });
      this.#error = undefined;
      this.#subscription?.close();
      this.#read();
    } catch (error) {
      if (wish !== this.#wish) return;
      this.#error = error as Error;
    }
    this.#changed();
  }

  async #locate(line: number | undefined): Promise<LogLines> {
    const { locate } = this.options;
    const of = (lines: number) =>
      line === undefined ? { tail: lines } : { lines: around(line, lines) };
    const part = await locate(of(PART_LINES));
    const fewer = fewerLines(part);
    return fewer === undefined ? part : locate(of(fewer));
  }

  #isFull(): boolean {
    return !this.isAtEnd && this.#buffer.end >= (this.#part?.to ?? 0);
  }

  #read(): void {
    const buffer = this.#buffer;
    if (this.isRead) return;
    const { live, build, step } = this.options;
    const subscription = live.log(
      { build, step, offset: buffer.end },
      {
        piece: (piece) => {
          if (buffer !== this.#buffer || buffer.append(piece) !== 'taken') return;
          if (this.#isFull()) subscription.close();
          this.#changed();
        },
        end: (bytes) => {
          buffer.finish(bytes);
          this.#changed();
        },
        error: (error) => {
          this.#error = error;
          this.#changed();
        },
      },
    );
    this.#subscription = subscription;
  }

  /** At most once a frame, however fast the pieces come. */
  #changed(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#version += 1;
      for (const listener of this.#listeners) listener();
    });
  }
}
