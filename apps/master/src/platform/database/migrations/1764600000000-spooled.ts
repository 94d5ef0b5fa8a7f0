import type { MigrationInterface, QueryRunner } from 'typeorm';

/** How much of its output a worker had not delivered when it sent its last heartbeat. */
export class Spooled1764600000000 implements MigrationInterface {
  name = 'Spooled1764600000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query('ALTER TABLE workers ADD COLUMN spooled bigint');
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only; restore a backup to go back');
  }
}
