/** How many frames a worker may send that store nothing: heartbeats, pings, credit, what comes late of builds. */
export interface FrameRateBounds {
  workerFramesPerSecond: number;
  /** At once: all that a build had under way when it was stopped comes late, and may be many little chunks. */
  workerFrameBurst: number;
}

/** Counts the frames of one connection; above the rate its socket is not read for a while, which costs nobody else. */
export class FrameRate {
  #left: number;
  #at: number;

  constructor(
    private readonly bounds: FrameRateBounds,
    now: number,
  ) {
    this.#left = bounds.workerFrameBurst;
    this.#at = now;
  }

  /** One frame; how long to read no more, in milliseconds: 0 as long as the rate is kept. `now` never goes back. */
  count(now: number): number {
    const { workerFramesPerSecond, workerFrameBurst } = this.bounds;
    const more = ((now - this.#at) / 1000) * workerFramesPerSecond;
    this.#left = Math.min(workerFrameBurst, this.#left + more) - 1;
    this.#at = now;
    return this.#left >= 0 ? 0 : Math.ceil((-this.#left / workerFramesPerSecond) * 1000);
  }

  /** The frame stored something: other bounds count it. */
  refund(): void {
    this.#left += 1;
  }
}
