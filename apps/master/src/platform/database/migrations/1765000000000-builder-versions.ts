import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/**
 * A builder's definition once for each version of the farm file, where each request had a copy of its own: of half a megabyte,
 * with 500 requests in one call.
 */
export class BuilderVersions1765000000000 extends ForwardOnly {
  name = 'BuilderVersions1765000000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(
      `CREATE TABLE builder_versions (
         builder_id int NOT NULL REFERENCES builders,
         farm_version int NOT NULL REFERENCES farm_versions,
         definition jsonb NOT NULL,
         PRIMARY KEY (builder_id, farm_version))`,
    );
    await query.query(
      `INSERT INTO builder_versions SELECT id, farm_version, definition FROM builders`,
    );
    await query.query(
      `INSERT INTO builder_versions
       SELECT DISTINCT ON (builder_id, farm_version) builder_id, farm_version, definition FROM build_requests
       ON CONFLICT DO NOTHING`,
    );
    await query.query(
      `ALTER TABLE build_requests
         DROP COLUMN definition,
         DROP CONSTRAINT build_requests_builder_id_fkey,
         DROP CONSTRAINT build_requests_farm_version_fkey,
         ADD FOREIGN KEY (builder_id, farm_version) REFERENCES builder_versions`,
    );
  }
}
