import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { Gauge, register } from 'prom-client';
import { Database } from '../platform/index.js';

/** Asked of the database when someone scrapes: the same on every master. */
@Injectable()
export class QueueMetrics implements OnModuleDestroy {
  constructor(db: Database) {
    register.removeSingleMetric(NAME);
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
    register.removeSingleMetric(NAME);
  }
}

const NAME = 'impgem_queue_requests';
const COUNT = `
  SELECT (SELECT count(*) FROM build_requests WHERE state = 'pending') AS pending,
         (SELECT count(*) FROM leases WHERE lost_at IS NULL) AS claimed`;
