import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { QUARANTINE_STRIKES } from '@impgem/protocol';
import { Gauge, register } from 'prom-client';
import { Database } from '../platform/index.js';

/** Asked of the database when someone scrapes: the same on every master. */
@Injectable()
export class QueueMetrics implements OnModuleDestroy {
  constructor(db: Database) {
    for (const name of [NAME, QUARANTINED]) register.removeSingleMetric(name);
    const quarantined = new Gauge({
      name: QUARANTINED,
      help: 'Workers that are given no builds, since they spoiled several in a row',
      async collect() {
        const [row] = await db
          .query<{ count: number }>(IN_QUARANTINE, [QUARANTINE_STRIKES])
          .catch(() => []);
        if (row) quarantined.set(row.count);
      },
    });
    const gauge = new Gauge({
      name: NAME,
      help: 'Build requests that are not finished, by state',
      labelNames: ['state'],
      async collect() {
        // An outage shows as the last known numbers, and in its own metric.
        const rows = await db.query<{ pending: number; claimed: number }>(COUNT).catch(() => []);
        for (const { pending, claimed } of rows) {
          gauge.set({ state: 'pending' }, pending);
          gauge.set({ state: 'claimed' }, claimed);
        }
      },
    });
  }

  onModuleDestroy(): void {
    for (const name of [NAME, QUARANTINED]) register.removeSingleMetric(name);
  }
}

const NAME = 'impgem_queue_requests';
const QUARANTINED = 'impgem_workers_quarantined';
const IN_QUARANTINE =
  'SELECT count(*) AS count FROM worker_standings WHERE strikes >= $1 AND until > now()';
const COUNT = `
  SELECT (SELECT count(*) FROM build_requests WHERE state = 'pending') AS pending,
         (SELECT count(*) FROM leases WHERE lost_at IS NULL) AS claimed`;
