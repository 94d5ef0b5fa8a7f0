import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/**
 * Brakes on workers that take builds and spoil them: refusals are counted, a request remembers which workers are not
 * to have it again yet, each worker's strikes in a row stand in a table of their own (its row is locked before those of
 * leases, these after them), and a lease knows when its build should be over.
 */
export class Standings1764700000000 extends ForwardOnly {
  name = 'Standings1764700000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(
      `ALTER TABLE build_requests ADD COLUMN refusals int NOT NULL DEFAULT 0, ADD COLUMN held_back jsonb`,
    );
    await query.query(
      `CREATE INDEX build_requests_held_back ON build_requests (group_id, id)
       WHERE state = 'pending' AND held_back IS NOT NULL`,
    );
    await query.query(
      `CREATE TABLE worker_standings (
         worker_id uuid PRIMARY KEY REFERENCES workers (id),
         strikes int NOT NULL,
         until timestamptz NOT NULL,
         reason jsonb
       ) WITH (fillfactor = 50)`,
    );
    await query.query(`ALTER TABLE leases ADD COLUMN due_at timestamptz`);
    await query.query(
      `UPDATE leases l SET due_at = l.granted_at + (b.plan->>'timeoutMs')::float8 * interval '1 millisecond'
       FROM builds b WHERE b.id = l.build_id`,
    );
  }
}
