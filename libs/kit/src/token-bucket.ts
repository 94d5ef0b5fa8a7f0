/** A rate, and what may come at once before it counts. */
export interface Rate {
  perSecond: number;
  burst: number;
}

/** Counts what comes at a rate, and tells how long to wait above it: the token bucket of traffic shaping. */
export class TokenBucket {
  #left: number;
  #at: number;

  constructor(
    private readonly rate: Rate,
    now: number,
  ) {
    this.#left = rate.burst;
    this.#at = now;
  }

  /** One more; how long to wait with the next, in milliseconds: 0 as long as the rate is kept. `now` never goes back. */
  take(now: number): number {
    const { perSecond, burst } = this.rate;
    const more = ((now - this.#at) / 1000) * perSecond;
    this.#left = Math.min(burst, this.#left + more) - 1;
    this.#at = now;
    return this.#left >= 0 ? 0 : Math.ceil((-this.#left / perSecond) * 1000);
  }

  /** The last one does not count. */
  refund(): void {
    this.#left += 1;
  }
}
