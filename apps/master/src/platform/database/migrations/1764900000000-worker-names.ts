import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/** Which names a registration token is for, and which labels a worker claimed and was not given. */
export class WorkerNames1764900000000 extends ForwardOnly {
  name = 'WorkerNames1764900000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(`ALTER TABLE registration_tokens ADD COLUMN names text[]`);
    await query.query(`ALTER TABLE workers ADD COLUMN refused_labels text[] NOT NULL DEFAULT '{}'`);
  }
}
