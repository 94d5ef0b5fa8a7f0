import { cutText } from '@impgem/kit';
import { distance } from 'fastest-levenshtein';

/** The known name that a mistyped one is likely meant to be; undefined when none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const short = cutText(name, 100);
  let best: string | undefined;
  // More than a third of the letters wrong is another word.
  let least = Math.max(2, Math.floor(short.length / 3)) + 1;
  for (const candidate of known) {
    const away = distance(short.toLowerCase(), candidate.toLowerCase());
    if (away < least) [best, least] = [candidate, away];
  }
  return best;
}
