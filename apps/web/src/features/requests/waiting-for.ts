import type { Worker } from '@impgem/client';

/** Why a pending request is not running yet, as far as the workers tell. */
export function waitingFor(
  labels: readonly string[],
  workers: readonly Worker[],
): { text: string; none: boolean } {
  const online = workers.filter(({ state }) => state === 'online');
  const quarantined = workers.filter(({ state }) => state === 'quarantined');
  const full = workers.filter(({ state }) => state === 'low-disk');
  const able = online.filter((worker) => labels.every((label) => worker.labels.includes(label)));
  if (online.length === 0 && full.length > 0)
    return { text: `No worker takes work: ${full[0]?.name}: ${full[0]?.lowDisk}.`, none: true };
  if (online.length === 0 && quarantined.length > 0)
    return {
      text: `No worker takes work: ${quarantined[0]?.name} is in quarantine, see Workers.`,
      none: true,
    };
  if (online.length === 0)
    return { text: 'No worker is connected: start one, or add one.', none: true };
  if (able.length === 0)
    return {
      text: `None of the ${online.length} connected workers has all the labels it needs.`,
      none: true,
    };
  const free = able.some((worker) => worker.running < worker.slots);
  return free
    ? { text: 'A worker is about to take it.', none: false }
    : { text: 'All workers that can run it are busy; it starts when one is free.', none: false };
}
