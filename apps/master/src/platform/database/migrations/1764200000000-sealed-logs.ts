import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/**
 * Chunks of logs lie in partitions, one for each day on which they came in, that go away as a whole once every log
 * in them is sealed: into `sealed_logs` when it is small, else into a file that this table names.
 */
export class SealedLogs1764200000000 extends ForwardOnly {
  name = 'SealedLogs1764200000000';

  async up(query: QueryRunner): Promise<void> {
    for (const statement of [...PARTITIONED, ...SEALED]) await query.query(statement);
  }
}

const TODAY = `(now() AT TIME ZONE 'utc')::date`;

const PARTITIONED = [
  `ALTER TABLE log_chunks RENAME TO log_chunks_before`,
  `ALTER TABLE log_chunks_before DROP CONSTRAINT log_chunks_pkey`,
  `CREATE TABLE log_chunks (
     build_id bigint NOT NULL,
     step int NOT NULL,
     byte_offset bigint NOT NULL,
     seq bigint NOT NULL,
     stream smallint NOT NULL,
     length int NOT NULL,
     first_line bigint NOT NULL,
     at timestamptz NOT NULL,
     crc32 bigint NOT NULL,
     data bytea NOT NULL,
     day date NOT NULL DEFAULT ${TODAY},
     PRIMARY KEY (build_id, step, byte_offset, day)) PARTITION BY RANGE (day)`,
  `ALTER TABLE log_chunks ALTER COLUMN data SET STORAGE EXTERNAL`,
  // What is there already becomes the partition of all days before today, and goes away like any other.
  `DO $$ BEGIN
     IF EXISTS (SELECT 1 FROM log_chunks_before) THEN
       EXECUTE format('ALTER TABLE log_chunks_before ADD COLUMN day date NOT NULL DEFAULT %L', ${TODAY} - 1);
       EXECUTE format('ALTER TABLE log_chunks ATTACH PARTITION log_chunks_before FOR VALUES FROM (MINVALUE) TO (%L)',
         ${TODAY});
     ELSE
       DROP TABLE log_chunks_before;
     END IF;
   END $$`,
  // Masters make more, day by day.
  `DO $$ DECLARE d date; BEGIN
     FOR d IN SELECT ${TODAY} + n FROM generate_series(0, 2) n LOOP
       EXECUTE format('CREATE TABLE %I PARTITION OF log_chunks FOR VALUES FROM (%L) TO (%L)',
         'log_chunks_' || to_char(d, 'YYYYMMDD'), d, d + 1);
     END LOOP;
   END $$`,
];

const SEALED = [
  // One row for each log that has bytes and will not grow: as a file, or as what would stand in the file.
  `CREATE TABLE sealed_logs (
     build_id bigint NOT NULL,
     step int NOT NULL,
     -- SHA-256 of the file, by which the blob store knows it.
     blob text,
     size bigint NOT NULL,
     data bytea,
     sealed_at timestamptz NOT NULL DEFAULT now(),
     PRIMARY KEY (build_id, step),
     CHECK (num_nonnulls(blob, data) = 1))`,
  `ALTER TABLE sealed_logs ALTER COLUMN data SET STORAGE EXTERNAL`,
  `CREATE INDEX sealed_logs_blob ON sealed_logs (blob) WHERE blob IS NOT NULL`,
  // Up to which event the ends of builds were looked at, and which master does it. The column of the transaction
  // has the name that backups know: in another server it begins anew.
  `CREATE TABLE log_sealing (
     one boolean PRIMARY KEY DEFAULT true CHECK (one),
     xid xid8 NOT NULL DEFAULT '0',
     id bigint NOT NULL DEFAULT 0,
     holder uuid NOT NULL,
     held_until timestamptz NOT NULL)`,
  // Builds that ended and cannot be sealed yet.
  `CREATE TABLE log_sealing_later (
     build_id bigint PRIMARY KEY,
     not_before timestamptz NOT NULL,
     failures int NOT NULL DEFAULT 0,
     problem text)`,
];
