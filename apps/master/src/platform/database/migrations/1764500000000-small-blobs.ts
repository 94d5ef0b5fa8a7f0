import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/** Contents of small artifacts, stored once like the blobs that are files, and without a file each. */
export class SmallBlobs1764500000000 extends ForwardOnly {
  name = 'SmallBlobs1764500000000';

  async up(query: QueryRunner): Promise<void> {
    await query.query(`CREATE TABLE small_blobs (sha256 text PRIMARY KEY, data bytea NOT NULL)`);
    // in a statement of its own, as PostgreSQL 15 wants it
    await query.query(`ALTER TABLE small_blobs ALTER COLUMN data SET STORAGE EXTERNAL`);
  }
}
