import type { Live, Subscription } from '@impgem/client';
import { LogBuffer } from './log-buffer.js';

/** The log of one step as the page reads it: the buffer, and a version that grows with it. */
export class LogSource {
  readonly buffer = new LogBuffer();
  #version = 0;
  #error: Error | undefined;
  #subscription: Subscription | undefined;
  #listeners = new Set<() => void>();
  #waiting = false;

  constructor(
    private readonly live: Live,
    private readonly of: { build: number; step: number },
  ) {}

  get error(): Error | undefined {
    return this.#error;
  }

  /** For `useSyncExternalStore`: reading goes on while somebody listens. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#subscription ??= this.#read();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#subscription?.close();
      this.#subscription = undefined;
    };
  };
  readonly version = (): number => this.#version;

  #read(): Subscription | undefined {
    if (this.buffer.complete) return undefined;
    return this.live.log(
      { ...this.of, offset: this.buffer.end },
      {
        piece: (piece) => {
          if (this.buffer.append(piece) === 'taken') this.#changed();
        },
        end: (bytes) => {
          this.buffer.finish(bytes);
          this.#changed();
        },
        error: (error) => {
          this.#error = error;
          this.#changed();
        },
      },
    );
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
