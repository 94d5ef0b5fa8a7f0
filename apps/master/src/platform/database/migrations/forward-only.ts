import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What all migrations share: none is undone, since what newer rows say would be lost. */
export abstract class ForwardOnly implements MigrationInterface {
  abstract readonly name: string;
  abstract up(query: QueryRunner): Promise<void>;

  async down(): Promise<void> {
    throw new Error('migrations go forward only; restore a backup to go back');
  }
}
