import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/** What heartbeats say of a worker's disks. */
export class WorkerDisks1764100000000 extends ForwardOnly {
  name = 'WorkerDisks1764100000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(`
      ALTER TABLE workers
        ADD COLUMN inodes_free bigint,
        ADD COLUMN engine_disk_free bigint,
        ADD COLUMN engine_inodes_free bigint,
        ADD COLUMN low_disk text`);
  }
}
