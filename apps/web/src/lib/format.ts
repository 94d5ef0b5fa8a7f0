/** How times, durations and sizes read on the page. Pure; times are milliseconds, sizes bytes. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`, `3 d 4 h`. Below zero (clocks differ) counts as zero. */
export function formatDuration(ms: number): string {
  const span = Math.max(0, ms);
  if (span < 10 * SECOND) return `${(Math.floor(span / 100) / 10).toFixed(1)} s`;
  if (span < MINUTE) return `${Math.floor(span / SECOND)} s`;
  if (span < HOUR)
    return `${Math.floor(span / MINUTE)} min ${two(Math.floor((span % MINUTE) / SECOND))} s`;
  if (span < DAY)
    return `${Math.floor(span / HOUR)} h ${two(Math.floor((span % HOUR) / MINUTE))} min`;
  return `${Math.floor(span / DAY)} d ${Math.floor((span % DAY) / HOUR)} h`;
}

/** From `start` to `finish`, or to `now` while it runs; undefined before it started. */
export function spanOf(
  start: string | null,
  finish: string | null,
  now: number,
): number | undefined {
  if (!start) return undefined;
  return Math.max(0, (finish ? Date.parse(finish) : now) - Date.parse(start));
}

/** `just now`, `40 s ago`, `5 min ago`, `3 h ago`, `2 d ago`, then the date. */
export function formatAgo(time: number, now: number): string {
  const span = now - time;
  if (span < 5 * SECOND) return 'just now';
  if (span < MINUTE) return `${Math.floor(span / SECOND)} s ago`;
  if (span < HOUR) return `${Math.floor(span / MINUTE)} min ago`;
  if (span < DAY) return `${Math.floor(span / HOUR)} h ago`;
  if (span < 30 * DAY) return `${Math.floor(span / DAY)} d ago`;
  return new Date(time).toISOString().slice(0, 10);
}

/** `812 B`, `1.4 KiB`, `50.0 MiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** With a thin gap between groups of three: `200 000`. */
export function formatCount(count: number): string {
  return String(count).replaceAll(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** A commit id is shown short; anything else as it is. */
export function shortRevision(revision: string): string {
  return /^[0-9a-f]{40,64}$/.test(revision) ? revision.slice(0, 10) : revision;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
