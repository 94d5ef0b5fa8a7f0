import type { LogLines } from '@impgem/client';

/** A log that is longer when it is opened is shown in parts, so that its end is there at once. */
const WHOLE_BYTES = 16 * 1024 * 1024;
/** Lines of a part, unless they are long. */
export const PART_LINES = 50_000;
const LEAST_LINES = 100;

export const isLong = (bytes: number): boolean => bytes > WHOLE_BYTES;

/** The lines around one, as REST counts them. */
export function around(line: number, count: number): string {
  const first = Math.max(1, line - Math.floor(count / 2));
  return `${first}-${first + count - 1}`;
}

/** How many lines a part should have that is more than its share of bytes; undefined when it is not. */
export function fewerLines({ first, last, from, to }: LogLines): number | undefined {
  const lines = last - first + 1;
  if (to - from <= WHOLE_BYTES || lines <= LEAST_LINES) return undefined;
  return Math.max(LEAST_LINES, Math.floor((lines * WHOLE_BYTES) / (to - from)));
}
