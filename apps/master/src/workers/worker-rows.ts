/** The statements about rows of `workers` that connections cause. */
import type { Heartbeat, Hello } from '@impgem/protocol';
import type { Tx } from '../platform/index.js';

/** Who a credential stands for, read once when its connection is opened. */
export interface WorkerIdentity {
  id: string;
  name: string;
  /** Hex of the SHA-256 of the secret that was used. */
  secretHash: string;
  allowedLabels: string[] | null;
}

export interface ConnectedRow {
  farm: string;
  connectedAt: Date;
  /** Another master may serve an older connection of it. */
  elsewhere: boolean;
}

/** Writes down the connection, newer than any before it. Absent when the credential is not in force any more. */
export async function markConnected(
  tx: Tx,
  worker: WorkerIdentity,
  hello: Hello,
  labels: readonly string[],
  refused: readonly string[] = [],
): Promise<ConnectedRow | undefined> {
  const [row] = await tx.query<{ farm: string; connected_at: Date; elsewhere: boolean }>(CONNECT, [
    worker.id,
    worker.secretHash,
    hello.executor,
    hello.version,
    JSON.stringify(hello.platform),
    hello.slots,
    labels,
    refused,
  ]);
  return row && { farm: row.farm, connectedAt: row.connected_at, elsewhere: row.elsewhere };
}

/** A connection that ended. */
export interface Departure {
  id: string;
  name: string;
  connectedAt: Date;
  /** `performance.now()` when it was last heard. */
  heardAt: number;
}

/** Names of those whose newest connection it was. */
export async function markDeparted(tx: Tx, gone: readonly Departure[]): Promise<string[]> {
  const rows = await tx.query<{ name: string }>(DISCONNECT, [
    gone.map(({ id }) => id),
    gone.map(({ connectedAt }) => connectedAt),
    gone.map(({ heardAt }) => performance.now() - heardAt),
  ]);
  return rows.map(({ name }) => name);
}

/** What a heartbeat says of a worker, as its row has it. */
export interface Vitals {
  diskFree: number;
  inodesFree: number | null;
  engineDiskFree: number | null;
  engineInodesFree: number | null;
  lowDisk: string | null;
  spooled: number | null;
}

export function vitalsOf(heartbeat: Heartbeat): Vitals {
  const { diskFree, inodesFree = null, engineDiskFree = null } = heartbeat;
  const { engineInodesFree = null, lowDisk = null, spooled = null } = heartbeat;
  return { diskFree, inodesFree, engineDiskFree, engineInodesFree, lowDisk, spooled };
}

/** Without vitals as long as no heartbeat has come. */
export interface Sighting extends Partial<Vitals> {
  id: string;
  silentMs: number;
}

export async function markSeen(tx: Tx, seen: readonly Sighting[]): Promise<void> {
  await tx.query(SEEN, [JSON.stringify(seen)]);
}

export async function markDraining(tx: Tx, id: string, connectedAt: Date): Promise<void> {
  await tx.query('UPDATE workers SET draining = true WHERE id = $1 AND connected_at = $2', [
    id,
    connectedAt,
  ]);
}

/** What the rows say of workers that are connected here. */
export interface Standing {
  id: string;
  revoked: boolean;
  secretHash: string;
  connectedAt: Date | null;
}

export function standings(tx: Tx, ids: readonly string[]): Promise<Standing[]> {
  return tx.query<Standing>(STANDINGS, [ids]);
}

/** A worker as its credential names it. */
export interface KnownWorker extends WorkerIdentity {
  hash: Buffer;
  revoked: boolean;
}

/** Those of the ids that there are. */
export async function findWorkers(tx: Tx, ids: readonly string[]): Promise<KnownWorker[]> {
  const rows = await tx.query<{
    id: string;
    name: string;
    secret_hash: Buffer;
    allowed_labels: string[] | null;
    revoked: boolean;
  }>(
    `SELECT id, name, secret_hash, allowed_labels, revoked_at IS NOT NULL AS revoked
     FROM workers WHERE id = ANY($1::uuid[])`,
    [ids],
  );
  return rows.map(({ id, name, secret_hash: hash, allowed_labels: allowedLabels, revoked }) => ({
    id,
    name,
    hash,
    secretHash: hash.toString('hex'),
    allowedLabels,
    revoked,
  }));
}

// In milliseconds, as JavaScript can hold them: it is compared as the connection's fence.
// Not FOR UPDATE: who holds leases of the worker and writes its rows twice refers to this one, and would wait.
const CONNECT = `
  WITH before AS (
    SELECT id, connected_at, disconnected_at, last_seen_at FROM workers
    WHERE id = $1 AND revoked_at IS NULL AND encode(secret_hash, 'hex') = $2 FOR NO KEY UPDATE)
  UPDATE workers w SET executor = $3, version = $4, platform = $5::jsonb, slots = $6, labels = $7, refused_labels = $8,
    draining = false, disconnected_at = NULL, last_seen_at = now(),
    connected_at = greatest(date_trunc('milliseconds', clock_timestamp()),
                            b.connected_at + interval '1 millisecond')
  FROM before b WHERE w.id = b.id
  RETURNING w.connected_at, (SELECT id FROM farm) AS farm,
    coalesce(b.connected_at IS NOT NULL AND b.disconnected_at IS NULL
             AND b.last_seen_at > now() - interval '5 minutes', false) AS elsewhere`;
const DISCONNECT = `
  UPDATE workers w SET disconnected_at = now(), draining = false,
         last_seen_at = greatest(w.last_seen_at, now() - g.silent * interval '1 millisecond')
  FROM unnest($1::uuid[], $2::timestamptz[], $3::float8[]) AS g(id, connected_at, silent)
  WHERE w.id = g.id AND w.connected_at = g.connected_at AND w.disconnected_at IS NULL
  RETURNING w.name`;
const SEEN = `
  UPDATE workers w SET
         (disk_free, inodes_free, engine_disk_free, engine_inodes_free, low_disk, spooled) = (
           SELECT s."diskFree", s."inodesFree", s."engineDiskFree", s."engineInodesFree", s."lowDisk",
                  s.spooled
           WHERE s."diskFree" IS NOT NULL
           UNION ALL
           SELECT w.disk_free, w.inodes_free, w.engine_disk_free, w.engine_inodes_free, w.low_disk,
                  w.spooled
           WHERE s."diskFree" IS NULL),
         last_seen_at = greatest(w.last_seen_at, now() - s."silentMs" * interval '1 millisecond')
  FROM jsonb_to_recordset($1::jsonb) AS s(
    id uuid, "silentMs" float8, "diskFree" bigint, "inodesFree" bigint, "engineDiskFree" bigint,
    "engineInodesFree" bigint, "lowDisk" text, spooled bigint)
  WHERE w.id = s.id`;
const STANDINGS = `
  SELECT id, revoked_at IS NOT NULL AS revoked, encode(secret_hash, 'hex') AS "secretHash",
         connected_at AS "connectedAt"
  FROM workers WHERE id = ANY($1::uuid[])`;
