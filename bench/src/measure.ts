/** One sample, or several that count alike. */
export type Sample = () => Promise<number | readonly number[]>;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The smallest value that at least this share of the values does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * Samples of both, taken in turns, so that whatever else the machine does meets both alike. One turn of each is
 * thrown away first: caches and warm-ups are nobody's merit.
 */
export async function inTurns(
  rounds: number,
  ours: Sample,
  theirs?: Sample,
): Promise<{ ours: number[]; theirs: number[] }> {
  const samples = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round <= rounds; round++) {
    const mine = await ours();
    const others = await theirs?.();
    if (round === 0) continue;
    samples.ours.push(...[mine].flat());
    if (others !== undefined) samples.theirs.push(...[others].flat());
  }
  return samples;
}

/** The medians of both, as the figure wants them. */
export async function medians(
  rounds: number,
  ours: Sample,
  theirs?: Sample,
): Promise<{ value: number; peerValue: number | null }> {
  const samples = await inTurns(rounds, ours, theirs);
  return {
    value: median(samples.ours),
    peerValue: samples.theirs.length > 0 ? median(samples.theirs) : null,
  };
}

/** Milliseconds that the work takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
