import { deferred } from '@impgem/kit';

/** Those of one caller. */
interface Line {
  running: number;
  /** In the order in which they came; each begins when it is called. */
  readonly waiting: Set<() => void>;
}

/**
 * Turns at something that is scarce: at most `atOnce` are held, and by one caller at most `perCaller`. Callers who wait
 * get theirs one after the other (round robin), so that somebody's thousand make nobody else wait for more than one.
 */
export class FairQueue {
  readonly #lines = new Map<string, Line>();
  #running = 0;

  constructor(
    private readonly atOnce: number,
    private readonly perCaller: number,
  ) {}

  /** Resolves, when it is this caller's turn, with the function that ends it. Rejects when `signal` aborts before. */
  async take(caller: string, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const line = this.#lines.get(caller) ?? { running: 0, waiting: new Set() };
    this.#lines.set(caller, line);
    const { promise, resolve, reject } = deferred();
    const leave = () => {
      line.waiting.delete(resolve);
      this.#forget(caller, line);
      reject(signal?.reason);
    };
    line.waiting.add(resolve);
    signal?.addEventListener('abort', leave, { once: true });
    this.#next();
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', leave);
    }
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#running -= 1;
      line.running -= 1;
      this.#moveBack(caller, line);
      this.#forget(caller, line);
      this.#next();
    };
  }

  /** Runs `work` in this caller's turn. */
  async run<T>(caller: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const end = await this.take(caller, signal);
    try {
      return await work();
    } finally {
      end();
    }
  }

  #next(): void {
    for (const [caller, line] of this.#lines) {
      if (this.#running >= this.atOnce) return;
      const [begin] = line.waiting;
      if (begin === undefined || line.running >= this.perCaller) continue;
      line.waiting.delete(begin);
      line.running += 1;
      this.#running += 1;
      // From there this walk comes by again.
      this.#moveBack(caller, line);
      begin();
    }
  }

  /** Behind all others: a map keeps the order in which its keys were set. */
  #moveBack(caller: string, line: Line): void {
    this.#lines.delete(caller);
    this.#lines.set(caller, line);
  }

  #forget(caller: string, { running, waiting }: Line): void {
    if (running === 0 && waiting.size === 0) this.#lines.delete(caller);
  }
}
