/** Time, as an argument, so that tests and the simulation own it. */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };
