import { Injectable } from '@nestjs/common';
import { Database, type Tx } from '../platform/index.js';
import { HOLDS_BYTES } from './log-rows.js';

/** Partitions that are made ahead. Few, since each statement looks into all of them. */
const DAYS_AHEAD = 2;
/** Arbitrary, ours alone: masters make partitions one after the other. */
const LOCK = 7_355_609;
/** To drop a partition its table is locked for a moment; who waits for that makes everyone wait. */
const LOCK_TIMEOUT_MS = 100;
/** Unsealed builds of a partition that are looked for at once. */
const STRAYS = 1000;

/** Partitions of `log_chunks`, each with what came in on one day (UTC, by the database's clock). */
@Injectable()
export class Partitions {
  constructor(private readonly db: Database) {}

  /** Makes those for today and the days to come. */
  async prepare(): Promise<void> {
    const [{ missing } = { missing: [] }] = await this.db.query<{ missing: string[] }>(MISSING, [
      DAYS_AHEAD,
    ]);
    if (missing.length === 0) return;
    await this.db.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      const [again] = await tx.query<{ missing: string[] }>(MISSING, [DAYS_AHEAD]);
      for (const day of again?.missing ?? []) await create(tx, day);
    });
  }

  /**
   * Drops the partitions of days gone by in which each log is sealed or of a build that is gone. Returns builds
   * that are over and hold others up.
   */
  async drop(): Promise<number[]> {
    const strays: number[] = [];
    const old = await this.db.query<{ name: string }>(OLD);
    for (const { name } of old) {
      // What is known to be open is looked for first: it takes a few probes, the search takes all rows.
      const pinned = await this.db.query(pinnedSql(name));
      if (pinned.length > 0) continue;
      const open = await this.db.query<{ build: number }>(unsealedSql(name), [STRAYS]);
      if (open.length === 0) await this.#drop(name);
      strays.push(...open.map(({ build }) => build));
    }
    return strays;
  }

  async #drop(name: string): Promise<void> {
    try {
      await this.db.transaction(async (tx) => {
        await tx.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
        await tx.query(`DROP TABLE ${name}`);
      });
    } catch (error) {
      // Somebody reads for long, e.g. a backup: next time.
      if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw error;
    }
  }
}

const LOCK_NOT_AVAILABLE = '55P03';

/** Made beside the table and then attached, which locks out nobody who writes. */
async function create(tx: Tx, day: string): Promise<void> {
  const name = `log_chunks_${day.replaceAll('-', '')}`;
  await tx.query(`CREATE TABLE ${name} (LIKE log_chunks INCLUDING ALL)`);
  await tx.query(
    `ALTER TABLE log_chunks ATTACH PARTITION ${name} FOR VALUES FROM ('${day}') TO ('${day}'::date + 1)`,
  );
}

const TODAY = `(now() AT TIME ZONE 'utc')::date`;

// Names say the day; one that lies before the migration to partitions has none.
const MISSING = `
  SELECT coalesce(array_agg(to_char(d.day, 'YYYY-MM-DD') ORDER BY d.day), '{}') AS missing
  FROM (SELECT ${TODAY} + n AS day FROM generate_series(0, $1::int) AS ahead(n)) d
  WHERE to_regclass('log_chunks_' || to_char(d.day, 'YYYYMMDD')) IS NULL`;

const OLD = `
  SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'log_chunks'::regclass
    AND (c.relname = 'log_chunks_before' OR c.relname < 'log_chunks_' || to_char(${TODAY}, 'YYYYMMDD'))
  ORDER BY 1`;

const pinnedSql = (name: string) => `
  SELECT 1 FROM (SELECT build_id FROM leases UNION ALL SELECT build_id FROM log_sealing_later) known
  WHERE EXISTS (SELECT 1 FROM ${name} c WHERE c.build_id = known.build_id AND ${HOLDS_BYTES}) LIMIT 1`;

const unsealedSql = (name: string) => `
  SELECT DISTINCT c.build_id AS build FROM (SELECT DISTINCT build_id, step FROM ${name} c WHERE ${HOLDS_BYTES}) c
  JOIN builds b ON b.id = c.build_id
  WHERE NOT EXISTS (SELECT 1 FROM sealed_logs l WHERE l.build_id = c.build_id AND l.step = c.step)
  LIMIT $1`;
