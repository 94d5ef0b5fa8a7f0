/** Removes a batch of what is due, in the caller's transaction; what is over for good is not changed by anybody else. */
import type { Tx } from '../platform/index.js';
import { HAS_LOG, NOTHING, type Counts, type Kind, type Policy } from './due.js';

/** Builds of a batch, and rows of theirs (a build may have many artifacts): a transaction must stay short. */
const BUILDS = 200;
const ROWS = 20_000;
/** Requests that ended without a build. */
const REQUESTS = 1000;

interface Chosen {
  id: number;
  number: number;
  request: number;
  rows: number;
}

/** `through` is the last build that was done, 0 when there was none left. */
export async function removeBatch(
  tx: Tx,
  { id: builder, age }: Policy,
  kind: Kind,
  after: number,
  upTo: number,
): Promise<{ counts: Counts; through: number }> {
  const found = await tx.query<Chosen>(CHOOSE, [builder, after, upTo, BUILDS]);
  const chosen = atMost(ROWS, found);
  const through = chosen.at(-1)?.number ?? 0;
  const builds = chosen.map(({ id }) => id);
  if (kind === 'artifacts')
    return { through, counts: await withMark('artifacts', await removeArtifacts(tx, builds)) };
  if (kind === 'logs')
    return { through, counts: await withMark('logs', await removeLogs(tx, builds)) };
  const logs = await removeLogs(tx, builds);
  const artifacts = await removeArtifacts(tx, builds);
  for (const table of ['sealed_logs', 'steps', 'events'])
    await tx.query(`DELETE FROM ${table} WHERE build_id = ANY($1::bigint[])`, [builds]);
  await tx.query('DELETE FROM builds WHERE id = ANY($1::bigint[])', [builds]);
  await removeRequests(tx, builder, age.builds, chosen);
  return { through, counts: { ...sum(logs, artifacts), builds: builds.length } };

  async function withMark(of: 'artifacts' | 'logs', counts: Counts): Promise<Counts> {
    if (through > 0) await tx.query(markSql(`${of}_through`), [builder, through]);
    return counts;
  }
}

/** As many of the first as have so many rows together, one at least. */
function atMost(rows: number, chosen: readonly Chosen[]): Chosen[] {
  let sum = 0;
  return chosen.filter((build, n) => (sum += build.rows) <= rows || n === 0);
}

export function sum(a: Counts, b: Counts): Counts {
  return {
    builds: a.builds + b.builds,
    logs: a.logs + b.logs,
    logBytes: a.logBytes + b.logBytes,
    artifacts: a.artifacts + b.artifacts,
    artifactBytes: a.artifactBytes + b.artifactBytes,
  };
}

async function removeArtifacts(tx: Tx, builds: readonly number[]): Promise<Counts> {
  const [counts] = await tx.query<Partial<Counts>>(ARTIFACTS, [builds]);
  return { ...NOTHING, ...counts };
}

/** Their rows stay and have nothing in them, so that nobody waits for the logs to be sealed. */
async function removeLogs(tx: Tx, builds: readonly number[]): Promise<Counts> {
  const [counts] = await tx.query<Partial<Counts>>(LOGS, [builds]);
  await tx.query('DELETE FROM log_sealing_later WHERE build_id = ANY($1::bigint[])', [builds]);
  return { ...NOTHING, ...counts };
}

async function removeRequests(
  tx: Tx,
  builder: number,
  ageMs: number | null,
  builds: readonly Chosen[],
): Promise<void> {
  const asked = [...new Set(builds.map(({ request }) => request))];
  const gone = await tx.query<{ id: number }>(REQUESTS_OF_BUILDS, [asked]);
  const unbuilt = await tx.query<{ id: number }>(UNBUILT, [builder, ageMs, REQUESTS]);
  await tx.query('DELETE FROM events WHERE build_id IS NULL AND request_id = ANY($1::bigint[])', [
    [...gone, ...unbuilt].map(({ id }) => id),
  ]);
}

const CHOOSE = `
  SELECT b.id, b.number, b.request_id AS request,
         (SELECT count(*) FROM artifacts a WHERE a.build_id = b.id)
           + (SELECT count(*) FROM steps s WHERE s.build_id = b.id) AS rows
  FROM builds b WHERE b.builder_id = $1 AND b.number > $2::int AND b.number <= $3::int
  ORDER BY b.number LIMIT $4`;

const markSql = (column: string) => `
  INSERT INTO retention_marks AS m (builder_id, ${column}) VALUES ($1, $2)
  ON CONFLICT (builder_id) DO UPDATE SET ${column} = greatest(m.${column}, excluded.${column})`;

const ARTIFACTS = `
  WITH gone AS (DELETE FROM artifacts WHERE build_id = ANY($1::bigint[]) RETURNING size)
  SELECT count(*) AS artifacts, coalesce(sum(size), 0)::int8 AS "artifactBytes" FROM gone`;

const LOGS = `
  WITH mine AS MATERIALIZED (
    SELECT s.build_id, s.index, l.size FROM steps s
    LEFT JOIN sealed_logs l ON l.build_id = s.build_id AND l.step = s.index
    WHERE s.build_id = ANY($1::bigint[]) AND s.log_bytes > 0 AND ${HAS_LOG}
  ), emptied AS (
    INSERT INTO sealed_logs (build_id, step, size) SELECT build_id, index, 0 FROM mine
    ON CONFLICT (build_id, step) DO UPDATE SET blob = NULL, data = NULL, size = 0)
  SELECT count(*) AS logs, coalesce(sum(size), 0)::int8 AS "logBytes" FROM mine`;

const REQUESTS_OF_BUILDS = `
  DELETE FROM build_requests r WHERE r.id = ANY($1::bigint[]) AND r.state = 'finished'
    AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.request_id = r.id)
  RETURNING r.id`;

// Cancelled before a worker had it, say.
const UNBUILT = `
  DELETE FROM build_requests WHERE id IN (
    SELECT r.id FROM build_requests r
    WHERE r.builder_id = $1 AND r.state = 'finished' AND r.attempts = 0
      AND r.finished_at < now() - $2::float8 * interval '1 millisecond'
      AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.request_id = r.id)
    ORDER BY r.id LIMIT $3)
  RETURNING id`;
