import type { Worker } from '@impgem/client';
import { MASTER_LIMITS } from '@impgem/protocol';
import type { Condition } from './worker-session.js';

/** How often a master writes down whom it hears. */
export const SEEN_FLUSH_MS = 20_000;
/** A connection whose master has written nothing for so long is one of a dead master. */
const STALE_MS = 3 * SEEN_FLUSH_MS;

export interface WorkerFacts {
  revoked_at: Date | null;
  connected_at: Date | null;
  disconnected_at: Date | null;
  last_seen_at: Date | null;
  draining: boolean;
  low_disk: string | null;
  /** Until when it is given no builds, since it spoiled several. */
  quarantined_until: Date | null;
  /** Builds it holds. */
  running: number;
}

/**
 * The state of a worker as people see it. `here` is what this master's own connection knows, which is fresher
 * than the row; a worker of another master is told from the row alone.
 */
export function shownState(row: WorkerFacts, now: Date, here?: Condition): Worker['state'] {
  if (row.revoked_at) return 'revoked';
  const quarantined = (row.quarantined_until?.getTime() ?? 0) > now.getTime();
  if (here) return here === 'online' && quarantined ? 'quarantined' : here;
  const silentMs = now.getTime() - (row.last_seen_at?.getTime() ?? 0);
  if (row.connected_at && !row.disconnected_at && silentMs < STALE_MS)
    return row.draining
      ? 'draining'
      : row.low_disk !== null
        ? 'low-disk'
        : quarantined
          ? 'quarantined'
          : 'online';
  if (row.running === 0) return 'offline';
  return silentMs < MASTER_LIMITS.lostMs ? 'suspect' : 'lost';
}
