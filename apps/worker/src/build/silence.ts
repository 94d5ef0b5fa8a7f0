/** What a longest timer of 32 bits can count. */
const LONGEST_MS = 2 ** 31 - 1;
/** A timer that comes so much too late says that this process slept, not that the step was silent. */
const LATE_MS = 1000;

/**
 * Calls `onSilence` once when a step has said nothing for `ms`. Silent is a step whose output is waited for; while
 * what it said waits for room in the spool it is not.
 */
export class Silence {
  #timer: NodeJS.Timeout | undefined;
  #waiting = 0;
  #counts = false;

  constructor(
    private readonly ms: number,
    private readonly onSilence: () => void,
  ) {}

  /** The step runs. */
  begin(): void {
    this.#counts = true;
    this.#wait();
  }

  /** The step has said something, which is stored when `stored` settles. */
  async heard(stored: Promise<void> | void): Promise<void> {
    clearTimeout(this.#timer);
    this.#waiting += 1;
    try {
      await stored;
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#wait();
    }
  }

  end(): void {
    this.#counts = false;
    clearTimeout(this.#timer);
  }

  #wait(): void {
    clearTimeout(this.#timer);
    if (!this.#counts) return;
    const ms = Math.min(this.ms, LONGEST_MS);
    const due = performance.now() + ms;
    this.#timer = setTimeout(() => {
      if (performance.now() > due + LATE_MS) return this.#wait();
      this.end();
      this.onSilence();
    }, ms);
  }
}
