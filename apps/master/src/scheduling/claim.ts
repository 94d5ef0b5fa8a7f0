/**
 * Hands waiting requests to a worker. A claim touches only the groups that the worker can serve, so its cost
 * does not grow with the backlog; parallel claims skip each other's rows.
 */
import { expand, type BuilderDefinition, type BuildPlan } from '@impgem/pipeline';
import { QUARANTINE_STRIKES } from '@impgem/protocol';
import type { Events, NewEvent } from '../events/index.js';
import { logger, type Transaction } from '../platform/index.js';

/** A connected worker. `connectedAt` is its fence: a claim for an older connection finds nothing. */
export interface Claimant {
  id: string;
  name: string;
  labels: readonly string[];
  connectedAt: Date;
}

export interface Assignment {
  build: number;
  epoch: number;
  plan: BuildPlan;
}

/** What every row of the answer says. */
interface Look {
  locked: number;
  paused: boolean;
  /** In its groups wait some that a worker gave back. */
  heldBack: boolean;
}

interface Nothing extends Look {
  id: null;
}

interface Picked extends Look {
  id: number;
  /** What the build's id will be. */
  build: number;
  builder_id: number;
  builder: string;
  definition: BuilderDefinition;
  properties: Record<string, string>;
  attempts: number;
  epoch: number;
  rank: number;
  last_number: number;
}

const log = logger('scheduling');

/** What a claim gave, and whether there is more that this worker may not have yet. */
export interface Claimed {
  assignments: Assignment[];
  /** Some that it is not given now may wait for it. */
  more: boolean;
  /** It is given none for now, or one at a time. */
  paused: boolean;
}

/** Claims up to `limit` requests, best first. Run it in a transaction of its own. */
export async function claim(
  tx: Transaction,
  events: Events,
  worker: Claimant,
  limit: number,
): Promise<Claimed> {
  tx.send(WITH_WORKER, [worker.id]);
  const rows = await tx.query<Picked | Nothing>(PICK, [
    worker.labels,
    worker.name,
    limit,
    worker.id,
    worker.connectedAt,
    QUARANTINE_STRIKES,
  ]);
  const { paused = false, heldBack = false } = rows[0] ?? {};
  const about = { paused, more: paused || heldBack };
  const picked = rows.filter((row): row is Picked => row.id !== null);
  // The rows that were locked beyond what is taken were skipped by others, who look again.
  if ((rows[0]?.locked ?? 0) > picked.length) tx.send('NOTIFY queue');
  if (picked.length === 0) return { assignments: [], ...about };
  const { builds, refused } = render(picked);
  if (builds.length > 0) tx.send(INSERT, [JSON.stringify(builds), worker.id]);
  const news = builds.map(({ request, build, builder, number, attempt }): NewEvent => ({
    kind: 'build.assigned',
    builder,
    build,
    request,
    worker: worker.name,
    data: { number, attempt },
  }));
  await events.append(tx, [...news, ...failUnrenderable(tx, refused)]);
  const assignments = builds.map(({ build, epoch, plan }) => ({ build, epoch, plan }));
  return { assignments, ...about };
}

interface Rendered {
  request: number;
  build: number;
  builder: string;
  builder_id: number;
  number: number;
  attempt: number;
  epoch: number;
  plan: BuildPlan;
}

interface Unrenderable {
  request: number;
  builder: string;
  message: string;
}

/** Numbers the builds per builder, in the order of the queue, and renders their plans. */
function render(picked: readonly Picked[]): { builds: Rendered[]; refused: Unrenderable[] } {
  const builds: Rendered[] = [];
  const refused: Unrenderable[] = [];
  const counts = new Map<number, number>();
  for (const { builder_id } of picked) counts.set(builder_id, (counts.get(builder_id) ?? 0) + 1);
  const used = new Map<number, number>();
  for (const row of [...picked].sort((a, b) => a.rank - b.rank || a.id - b.id)) {
    const { id: request, build, builder_id, builder, epoch, attempts } = row;
    const index = (used.get(builder_id) ?? 0) + 1;
    used.set(builder_id, index);
    const number = row.last_number - (counts.get(builder_id) ?? 0) + index;
    try {
      const plan = expand(row.definition, { name: builder, number, properties: row.properties });
      const attempt = attempts + 1;
      builds.push({ request, build, builder, builder_id, number, attempt, epoch, plan });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.error({ err: error, request, builder }, 'a request cannot be rendered');
      refused.push({ request, builder, message });
    }
  }
  return { builds, refused };
}

/** A definition that cannot be rendered fails its request, or it would stand at the head for ever. */
function failUnrenderable(tx: Transaction, refused: readonly Unrenderable[]): NewEvent[] {
  if (refused.length === 0) return [];
  tx.send(FAIL, [refused.map(({ request }) => request)]);
  return refused.map(({ request, builder, message }) => ({
    kind: 'request.finished',
    builder,
    request,
    data: { result: 'exception', reason: message },
  }));
}

const heldUntil = `(r.held_back->($4::uuid)::text->>'until')::float8`;

// A statement of its own: the next one sees all that a greeting which it waits for has written, a strike too.
const WITH_WORKER = 'SELECT FROM workers WHERE id = $1::uuid FOR SHARE';
// A request that this worker gave back is passed over for a while. There are few of those: a worker that gives many
// back is given nothing for a while itself.
const PICK = `
  WITH claimant AS (
    SELECT w.id, coalesce(s.strikes, 0) >= $6::int AS trial
    FROM workers w LEFT JOIN worker_standings s ON s.worker_id = w.id
    WHERE w.id = $4::uuid AND w.revoked_at IS NULL AND w.connected_at = $5 AND w.disconnected_at IS NULL
      AND coalesce(s.until <= now(), true)
      AND NOT (coalesce(s.strikes, 0) >= $6::int AND EXISTS (
        SELECT 1 FROM leases l WHERE l.worker_id = $4::uuid AND l.lost_at IS NULL))
  ), fit AS (
    SELECT g.id FROM requirement_groups g CROSS JOIN claimant
    WHERE g.labels <@ $1::text[] AND (g.workers = '{}' OR $2::text = ANY(g.workers))
  ), heads AS MATERIALIZED (
    SELECT head.* FROM fit CROSS JOIN LATERAL (
      SELECT r.id, r.builder_id, r.rank FROM build_requests r
      WHERE r.group_id = fit.id AND r.state = 'pending'
        AND (r.held_back IS NULL OR coalesce(${heldUntil} <= extract(epoch FROM now()), true))
      ORDER BY r.rank, r.id LIMIT $3 FOR UPDATE SKIP LOCKED) head
  ), picked AS MATERIALIZED (
    SELECT id, builder_id FROM heads ORDER BY rank, id
    LIMIT CASE WHEN (SELECT trial FROM claimant) THEN 1 ELSE $3 END
  ), numbered AS (
    INSERT INTO builder_numbers AS n (builder_id, last_number)
    SELECT builder_id, count(*) FROM picked GROUP BY builder_id ORDER BY builder_id
    ON CONFLICT (builder_id) DO UPDATE SET last_number = n.last_number + excluded.last_number
    RETURNING n.builder_id, n.last_number
  ), claimed AS (
    UPDATE build_requests r SET state = 'claimed', epoch = r.epoch + 1
    FROM picked p JOIN numbered n ON n.builder_id = p.builder_id JOIN builders b ON b.id = p.builder_id
      JOIN builder_versions v ON v.builder_id = p.builder_id
    WHERE r.id = p.id AND v.farm_version = r.farm_version
    RETURNING r.id, nextval('builds_id_seq') AS build, r.builder_id, b.name AS builder, v.definition, r.properties,
      r.attempts, r.epoch, r.rank, n.last_number)
  SELECT c.*, (SELECT count(*) FROM heads) AS locked,
         EXISTS (SELECT 1 FROM worker_standings s
                 WHERE s.worker_id = $4::uuid AND (s.until > now() OR s.strikes >= $6::int)) AS paused,
         EXISTS (SELECT 1 FROM fit CROSS JOIN LATERAL (
                   SELECT 1 FROM build_requests r
                   WHERE r.group_id = fit.id AND r.state = 'pending' AND r.held_back IS NOT NULL LIMIT 1) held
                ) AS "heldBack"
  FROM (VALUES (1)) AS once LEFT JOIN claimed c ON true`;

// A lease that was lost stays until now, since its worker might have come back for it.
const INSERT = `
  WITH c AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS c(
      request bigint, build bigint, builder_id int, number int, attempt int, epoch int, plan jsonb)
  ), made AS (
    INSERT INTO builds (id, builder_id, number, request_id, attempt, epoch, worker_id, plan, properties)
    OVERRIDING SYSTEM VALUE
    SELECT build, builder_id, number, request, attempt, epoch, $2::uuid, plan, plan->'properties' FROM c
    RETURNING id, request_id, epoch, plan
  ), leased AS (
    INSERT INTO leases (build_id, request_id, worker_id, epoch, due_at)
    SELECT id, request_id, $2::uuid, epoch, now() + (plan->>'timeoutMs')::float8 * interval '1 millisecond' FROM made
    ON CONFLICT (request_id) DO UPDATE SET build_id = excluded.build_id, worker_id = excluded.worker_id,
      epoch = excluded.epoch, seq = 0, cancel = NULL, lost_at = NULL, granted_at = now(), due_at = excluded.due_at
  )
  INSERT INTO steps (build_id, index, name, kind)
  SELECT made.id, step.n - 1, step.s->>'name', step.s->>'kind'
  FROM made CROSS JOIN LATERAL jsonb_array_elements(made.plan->'steps') WITH ORDINALITY AS step(s, n)`;

const FAIL = `
  UPDATE build_requests SET state = 'finished', result = 'exception', finished_at = now()
  WHERE id = ANY($1::bigint[])`;
