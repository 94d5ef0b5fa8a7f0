/**
 * Blobs and the rows that name them. A blob that no row names is garbage, and yet one becomes a blob before its row is
 * committed, or was one already when the same content comes again: so whoever makes rows holds a lock, shared, from
 * before the blob is there until the commit, and whoever removes blobs holds it alone. There is a lock for each first
 * byte of the names, so that neither waits for long.
 */
import type { Client } from 'pg';
import type { Database, Transaction, Tx } from '../database/database.js';
import { sync, type BlobStore } from './blobs.js';

/** Arbitrary, ours alone: the first half of the keys. */
const BLOBS = 7_355_610;
/** The second half that stands for all blobs; the others are first bytes. */
const ALL = 256;
/** The second half for contents that are rows. */
const ROWS = 257;

/** Named so in a sweep at once. */
const BATCH = 1000;

/** The file system did not take it; the cause is its error. */
export class BlobError extends Error {}

/**
 * Makes files blobs and, in the same breath, the rows that name them. The files keep their own names, so that it
 * can be done again when it rejects: with `BlobError`, or as a transaction does.
 */
export async function keepBlobs<T>(
  db: Database,
  blobs: BlobStore,
  files: readonly { file: string; sha256: string }[],
  record: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const each = async (run: (file: string, sha256: string) => Promise<unknown>): Promise<void> => {
    for (const { file, sha256 } of files)
      await run(file, sha256).catch((cause: unknown) => {
        throw new BlobError(`cannot store ${sha256}`, { cause });
      });
  };
  // What takes long comes before the transaction.
  await each(async (file, sha256) => (await blobs.has(sha256)) || sync(file));
  const bytes = files.map(({ sha256 }) => parseInt(sha256.slice(0, 2), 16));
  return db.transaction(async (tx) => {
    // In one order, or two might wait for each other.
    await tx.query(SHARE, [[...new Set(bytes)].sort((a, b) => a - b), BLOBS]);
    await each((file, sha256) => blobs.link(file, sha256));
    return record(tx);
  });
}

/**
 * Removes the blobs that no row names. Undefined when somebody else does it, or needs all of them (`holdBlobs`);
 * what is in use at the moment stays until the next time.
 */
export async function sweepBlobs(
  db: Database,
  blobs: BlobStore,
  signal: AbortSignal,
): Promise<{ blobs: number; bytes: number } | undefined> {
  const removed = { blobs: 0, bytes: 0 };
  for (let first = 0; first < ALL && !signal.aborted; first++) {
    const names = await blobs.named(first);
    for (let at = 0; at < names.length && !signal.aborted; at += BATCH) {
      const free = await db.transaction(async (tx) => {
        if (!(await tryLock(tx, ALL))) return false;
        if (!(await tryLock(tx, first))) return true;
        const garbage = await tx.query<{ name: string }>(UNNAMED, [names.slice(at, at + BATCH)]);
        for (const { name } of garbage) {
          removed.bytes += await blobs.remove(name);
          removed.blobs += 1;
        }
        return true;
      });
      if (!free) return undefined;
    }
  }
  return removed;
}

/** The same for contents that are rows (`small_blobs`): held from before they are there until the commit. */
export async function holdSmallBlobs(tx: Tx): Promise<void> {
  await tx.query('SELECT pg_advisory_xact_lock_shared($1, $2)', [BLOBS, ROWS]);
}

/** Removes contents that are rows and that no artifact names. Undefined when they are needed at the moment. */
export async function sweepSmallBlobs(
  db: Database,
  signal: AbortSignal,
): Promise<number | undefined> {
  let removed = 0;
  for (let after = ''; !signal.aborted;) {
    const step = await db.transaction(async (tx) => {
      if (!(await tryLock(tx, ROWS))) return undefined;
      const [row] = await tx.query<{ last: string | null; gone: number }>(SWEEP_ROWS, [
        after,
        BATCH,
      ]);
      return row;
    });
    if (!step) return undefined;
    removed += step.gone;
    if (step.last === null) break;
    after = step.last;
  }
  return removed;
}

/** Takes a lock alone until the commit, unless somebody else has it. */
async function tryLock(tx: Tx, key: number): Promise<boolean> {
  const [lock] = await tx.query<{ mine: boolean }>(TRY, [BLOBS, key]);
  return lock?.mine === true;
}

/** Keeps all blobs where they are as long as the connection lasts. Before a snapshot is taken, which may be older. */
export async function holdBlobs(client: Client): Promise<void> {
  await client.query('SELECT pg_advisory_lock_shared($1, $2)', [BLOBS, ALL]);
}

const SWEEP_ROWS = `
  WITH looked AS MATERIALIZED (
    SELECT sha256 FROM small_blobs WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
  ), gone AS (
    DELETE FROM small_blobs WHERE sha256 IN (
      SELECT l.sha256 FROM looked l WHERE NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.sha256 = l.sha256))
    RETURNING 1)
  SELECT (SELECT max(sha256) FROM looked) AS last, (SELECT count(*) FROM gone) AS gone`;
const SHARE = `SELECT pg_advisory_xact_lock_shared($2::int, byte) FROM unnest($1::int[]) byte`;
const TRY = `SELECT pg_try_advisory_xact_lock($1::int, $2::int) AS mine`;
const UNNAMED = `
  SELECT name FROM unnest($1::text[]) AS name
  WHERE NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.sha256 = name)
    AND NOT EXISTS (SELECT 1 FROM sealed_logs l WHERE l.blob = name)`;
