/**
 * Full jitter: a uniform wait between 0 and min(cap, base · 2^attempt), in milliseconds.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants compared there
 * it spreads a herd of clients best.
 */
export function fullJitter(
  attempt: number,
  { baseMs, capMs }: { baseMs: number; capMs: number },
  random: () => number = Math.random,
): number {
  return Math.floor(random() * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30)));
}
