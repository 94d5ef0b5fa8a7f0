import { closeSync, fstatSync, openSync, readSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { OutputSink } from '../executor.js';
import { fileOf } from './launcher-messages.js';

/** Stops and resumes whoever copies the step's output into its files. */
export interface Brake {
  hold(): void;
  release(): void;
}

const PIECE = 256 * 1024;
/** Bytes on disk that may wait for the sink before the writer has to wait. */
const HIGH = 16 * 1024 * 1024;
const LOW = 4 * 1024 * 1024;

interface Tail {
  stream: 'stdout' | 'stderr';
  file: number;
  at: number;
}

/** What is read into, by all tails of this process, for as long as pieces are copied out of it. */
let room: Buffer | undefined;

/**
 * Follows the output files of a step into the sink, woken by the kernel (inotify), one piece at a time, so that
 * memory stays flat whatever the step writes; a step that is 16 MiB ahead of the sink has to wait meanwhile. Pieces are
 * read by calls that wait: they were just written, so that the kernel has them. Files only grow: one that became shorter
 * was cut by somebody who is not the farm, and that is a failure, or output would be missing without a word.
 */
export class FileTail {
  /** Settles when `finish` was called and the sink took all there was; never rejects. */
  readonly done: Promise<void>;
  /** What the sink threw; nothing is read after that. */
  failure: unknown;
  readonly #watcher: FSWatcher;
  #finished = false;
  #held = false;
  #dirty = true;
  #wake = (): void => {};

  /** Of the files of a step, which are made if need be. */
  static open(files: string, sink: OutputSink, brake: Brake): FileTail {
    const tails: Tail[] = [];
    try {
      for (const stream of ['stdout', 'stderr'] as const)
        tails.push({ stream, file: openSync(fileOf(files, stream), 'a+', 0o600), at: 0 });
      return new FileTail(files, tails, sink, brake);
    } catch (error) {
      for (const { file } of tails) closeSync(file);
      throw error;
    }
  }

  private constructor(
    files: string,
    private readonly tails: readonly Tail[],
    private readonly sink: OutputSink,
    private brake: Brake | undefined,
  ) {
    const names = tails.map(({ stream }) => basename(fileOf(files, stream)));
    this.#watcher = watch(dirname(files), { persistent: false }, (_, name) => {
      if (name === null || names.includes(name)) this.#stir();
    });
    this.#watcher.on('error', () => this.#stir());
    this.done = this.#follow();
  }

  /** How many bytes of a stream were passed on. */
  read(stream: Tail['stream']): number {
    return this.tails.find((tail) => tail.stream === stream)?.at ?? 0;
  }

  /** No more is coming: what is in the files now is the rest. */
  finish(): void {
    this.#finished = true;
    this.#stir();
  }

  /** The step is not frozen any more, so that it can end. */
  letGo(): void {
    if (this.#held) this.brake?.release();
    this.#held = false;
    this.brake = undefined;
  }

  #stir(): void {
    this.#dirty = true;
    this.#wake();
  }

  async #follow(): Promise<void> {
    try {
      for (;;) {
        const last = this.#finished;
        this.#dirty = false;
        await this.#drain();
        if (last) return;
        if (this.#dirty || this.#finished) continue;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } catch (error) {
      this.failure = error ?? new Error('the output could not be taken');
    } finally {
      this.letGo();
      this.#watcher.close();
      for (const { file } of this.tails) closeSync(file);
    }
  }

  /** Takes both files in turns until neither has more. */
  async #drain(): Promise<void> {
    for (let more = true; more;) {
      more = false;
      for (const tail of this.tails) {
        const piece = next(tail);
        if (piece.length === 0) {
          checkUncut(tail);
          continue;
        }
        tail.at += piece.length;
        more = true;
        const taken = this.sink(tail.stream, piece);
        await taken;
        // There is more, as a rule: others get their turn before.
        if (piece.length === PIECE) await setImmediate();
        // A short one that was taken at once was all there was.
        if (taken !== undefined || this.#held || piece.length === PIECE) this.#weigh();
      }
    }
  }

  #weigh(): void {
    if (!this.brake || this.#finished) return;
    let behind = 0;
    for (const { file, at } of this.tails) behind += fstatSync(file).size - at;
    if (!this.#held && behind > HIGH) this.brake.hold();
    else if (this.#held && behind < LOW) this.brake.release();
    else return;
    this.#held = !this.#held;
  }
}

/** Throws when the file is shorter than what was read of it. */
function checkUncut({ stream, file, at }: Tail): void {
  const { size } = fstatSync(file);
  if (size >= at) return;
  throw new Error(`somebody cut the file of its ${stream} to ${size} bytes when ${at} were read`);
}

/** The next bytes, for the sink to keep; none at the end. Big pieces are not copied. */
function next(tail: Tail): Buffer {
  const buffer = (room ??= Buffer.allocUnsafeSlow(PIECE));
  const length = readSync(tail.file, buffer, 0, PIECE, tail.at);
  if (length <= PIECE / 4) return Buffer.from(buffer.subarray(0, length));
  room = undefined;
  return buffer.subarray(0, length);
}
