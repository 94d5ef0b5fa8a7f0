import type { Worker } from '@impgem/client';

/** Those that came after the dialog was opened; revoked ones do not count. */
export function newWorkers(before: ReadonlySet<string>, workers: readonly Worker[]): Worker[] {
  return workers.filter((worker) => !before.has(worker.id) && worker.state !== 'revoked');
}

const ORDER = [
  'online',
  'quarantined',
  'low-disk',
  'draining',
  'suspect',
  'lost',
  'offline',
  'revoked',
] as const;

/** Those at work first, revoked ones last; by name within. */
export function inOrder(workers: readonly Worker[]): Worker[] {
  return workers.toSorted(
    (a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || a.name.localeCompare(b.name, 'en'),
  );
}
