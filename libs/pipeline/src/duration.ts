const UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 } as const;

/** The longest timeout: a week, in milliseconds (what a timer of 32 bits can still count is 24 days). */
export const MAX_TIMEOUT_MS = 7 * UNITS.d;
/** A worker that is silent for 45 s is called lost; its builds are not given away before that is sure. */
export const MIN_LOST_AFTER_MS = UNITS.m;
/** Between these is kept what a build leaves; it is over for an hour at least, so that nothing of it is under way. */
export const MIN_RETENTION_MS = UNITS.h;
export const MAX_RETENTION_MS = 3650 * UNITS.d;
/** How long a build may take when its builder does not say. */
export const DEFAULT_BUILD_TIMEOUT_MS = UNITS.h;

/**
 * Reads `45s`, `30m`, `1h30m`, `2d` as milliseconds; undefined for anything else. A unit is a must: a bare
 * number means minutes to one CI system and seconds to the next.
 */
export function parseDuration(text: string): number | undefined {
  const parts = /^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$/.exec(text);
  if (!parts || text === '') return undefined;
  const [, d = 0, h = 0, m = 0, s = 0] = parts.map(Number).map((n) => n || 0);
  return d * UNITS.d + h * UNITS.h + m * UNITS.m + s * UNITS.s;
}
