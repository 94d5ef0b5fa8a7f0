import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/** How much of its output a worker had not delivered when it sent its last heartbeat. */
export class Spooled1764600000000 extends ForwardOnly {
  name = 'Spooled1764600000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query('ALTER TABLE workers ADD COLUMN spooled bigint');
  }
}
