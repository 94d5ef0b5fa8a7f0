import { closest, distance } from 'fastest-levenshtein';

/** The known name most like the given one. Absent when nothing is near (more than half of it differs). */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (known.length === 0) return undefined;
  const best = closest(name.toLowerCase(), [...known]);
  return distance(name.toLowerCase(), best.toLowerCase()) <= Math.max(2, name.length / 2)
    ? best
    : undefined;
}
