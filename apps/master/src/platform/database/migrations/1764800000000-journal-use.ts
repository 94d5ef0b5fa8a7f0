import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/** What an attempt has made the farm store, so that it is bounded whichever master takes its records. */
export class JournalUse1764800000000 extends ForwardOnly {
  name = 'JournalUse1764800000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(`
      ALTER TABLE leases
        ADD COLUMN events integer NOT NULL DEFAULT 0,
        ADD COLUMN properties integer NOT NULL DEFAULT 0,
        ADD COLUMN property_bytes integer NOT NULL DEFAULT 0,
        ADD COLUMN log_stored bigint NOT NULL DEFAULT 0`);
  }
}
