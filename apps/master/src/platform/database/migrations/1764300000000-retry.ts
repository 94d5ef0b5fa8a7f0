import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/**
 * How often a request is tried again, and how long its worker may be silent: of the builder that it was asked of. Each
 * has a column of its own, since they are read at every commit of a journal, and a definition may be big.
 */
export class Retry1764300000000 extends ForwardOnly {
  name = 'Retry1764300000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(
      `ALTER TABLE build_requests
         ADD COLUMN failures int NOT NULL DEFAULT 0,
         ADD COLUMN retry_infrastructure int NOT NULL DEFAULT 2,
         ADD COLUMN retry_failure int NOT NULL DEFAULT 0,
         ADD COLUMN lost_after_ms bigint`,
    );
  }
}
