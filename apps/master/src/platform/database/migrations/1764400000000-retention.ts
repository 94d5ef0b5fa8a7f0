import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/**
 * Up to which build of each builder logs and artifacts were removed; a log that was removed keeps its row in
 * `sealed_logs`, with nothing in it. The indexes find what a removed build leaves: who else has its content, events
 * and requests that never had a build.
 */
export class Retention1764400000000 extends ForwardOnly {
  name = 'Retention1764400000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(
      `CREATE TABLE retention_marks (
         builder_id int PRIMARY KEY REFERENCES builders,
         logs_through int NOT NULL DEFAULT 0,
         artifacts_through int NOT NULL DEFAULT 0)`,
    );
    await query.query(
      `ALTER TABLE sealed_logs DROP CONSTRAINT sealed_logs_check,
         ADD CONSTRAINT sealed_logs_check CHECK (num_nonnulls(blob, data) <= 1)`,
    );
    await query.query('CREATE INDEX artifacts_sha256 ON artifacts (sha256)');
    await query.query(
      `CREATE INDEX events_request ON events (request_id) WHERE build_id IS NULL AND request_id IS NOT NULL`,
    );
    await query.query(
      `CREATE INDEX build_requests_unbuilt ON build_requests (builder_id, id)
       WHERE state = 'finished' AND attempts = 0`,
    );
  }
}
