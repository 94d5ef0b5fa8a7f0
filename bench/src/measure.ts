/** One figure beside its peer's. `ratio` is value ÷ peerValue; null where the peer is not installed. */
export interface Measurement {
  name: string;
  value: number;
  unit: string;
  peer: string;
  peerValue: number | null;
  ratio: number | null;
  /** What the ratio shall be, e.g. `≤ 0.6`. */
  goal: string;
}

/** A thing to measure, asked for one sample after the other. */
export type Sample = () => Promise<number>;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * Medians of both, sampled in turns, so that whatever else the machine does meets both alike. One sample of
 * each is thrown away first: caches and warm-ups are nobody's merit.
 */
export async function alternate(
  ours: Sample,
  peers: Sample | undefined,
  rounds: number,
): Promise<{ value: number; peerValue: number | null }> {
  const mine: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const value = await ours();
    const peerValue = await peers?.();
    if (round === 0) continue;
    mine.push(value);
    if (peerValue !== undefined) theirs.push(peerValue);
  }
  return { value: median(mine), peerValue: theirs.length > 0 ? median(theirs) : null };
}

const rounded = (value: number) => Number(value.toPrecision(4));

export function measurement(
  facts: Pick<Measurement, 'name' | 'unit' | 'peer' | 'goal'>,
  { value, peerValue }: { value: number; peerValue: number | null },
): Measurement {
  return {
    name: facts.name,
    value: rounded(value),
    unit: facts.unit,
    peer: facts.peer,
    peerValue: peerValue === null ? null : rounded(peerValue),
    ratio: peerValue === null ? null : rounded(value / peerValue),
    goal: facts.goal,
  };
}
