import { distance } from 'fastest-levenshtein';

/** Comparing costs the product of both lengths; no name of ours comes near. */
const LONGEST = 100;

/**
 * The known name most like the given one. Absent when nothing is near: when more than `most` letters differ, by
 * default half of them.
 */
export function nearest(
  name: string,
  known: readonly string[],
  most: number = Math.max(2, name.length / 2),
): string | undefined {
  if (known.length === 0 || name.length > LONGEST) return undefined;
  const wanted = name.toLowerCase();
  const best = known.reduce((near, other) =>
    distance(wanted, other.toLowerCase()) < distance(wanted, near.toLowerCase()) ? other : near,
  );
  return distance(wanted, best.toLowerCase()) <= most ? best : undefined;
}
