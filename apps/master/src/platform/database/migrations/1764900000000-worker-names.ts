import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Which names a registration token is for, and which labels a worker claimed and was not given. */
export class WorkerNames1764900000000 implements MigrationInterface {
  name = 'WorkerNames1764900000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(`ALTER TABLE registration_tokens ADD COLUMN names text[]`);
    await query.query(`ALTER TABLE workers ADD COLUMN refused_labels text[] NOT NULL DEFAULT '{}'`);
  }

  async down(): Promise<void> {
    throw new Error('migrations go forward only; restore a backup to go back');
  }
}
