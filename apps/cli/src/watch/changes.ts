import { deferred, fullJitter, type Deferred } from '@impgem/kit';
import { ProblemError, UnreachableError, type FarmEvent, type Live } from '@impgem/client';
import { Interrupted } from '../exit-codes.js';

/** Looked at again after this many milliseconds even without an event. */
const SAFETY_MS = 5000;
/** How long a master may be away while one watches, in milliseconds. */
const PATIENCE_MS = 300_000;

/** Waits for a condition, which is looked at whenever something happened that `concerns` us. */
export class Changes {
  #count = 0;
  #waiting = new Set<Deferred<void>>();
  readonly #close: () => void;

  constructor(
    live: Live,
    concerns: (event: FarmEvent) => boolean,
    readonly signal: AbortSignal,
    readonly note: (text: string) => void,
    of: { build?: number } = {},
  ) {
    const subscription = live.events(of, {
      event: (event) => concerns(event) && this.#wake(),
      // Something may have happened while the connection was gone.
      subscribed: () => this.#wake(),
    });
    const stop = () => this.#wake();
    signal.addEventListener('abort', stop);
    this.#close = () => {
      subscription.close();
      signal.removeEventListener('abort', stop);
    };
  }

  close(): void {
    this.#close();
  }

  /**
   * Asks until the answer is not undefined. A master that is away for a while is waited for; rejects with
   * `Interrupted` when the signal ends it.
   */
  async until<T>(ask: () => Promise<T | undefined>): Promise<T> {
    let awaySince: number | undefined;
    for (let tries = 0; ; tries++) {
      if (this.signal.aborted) throw new Interrupted('interrupted');
      const seen = this.#count;
      let wait = SAFETY_MS;
      try {
        const answer = await ask();
        if (answer !== undefined) return answer;
        if (awaySince !== undefined) this.note('the master is back');
        awaySince = undefined;
        tries = 0;
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (awaySince === undefined) this.note(`${error.message}; trying again`);
        awaySince ??= Date.now();
        if (Date.now() - awaySince > PATIENCE_MS) throw error;
        wait = 200 + fullJitter(tries, { baseMs: 200, capMs: SAFETY_MS });
      }
      if (seen === this.#count) await this.#wait(wait);
    }
  }

  #wake(): void {
    this.#count++;
    for (const waiting of this.#waiting) waiting.resolve();
  }

  async #wait(ms: number): Promise<void> {
    const waiting = deferred();
    this.#waiting.add(waiting);
    const timer = setTimeout(() => waiting.resolve(), ms);
    await waiting.promise;
    clearTimeout(timer);
    this.#waiting.delete(waiting);
  }
}

function isPassing(error: unknown): error is Error {
  return (
    error instanceof UnreachableError ||
    (error instanceof ProblemError && [502, 503, 504].includes(error.status))
  );
}
