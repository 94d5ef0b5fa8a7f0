import type { Events } from '../events/index.js';
import { LIMITS, type Transaction } from '../platform/index.js';
import { closeAttempts } from '../scheduling/index.js';
import {
  ingest,
  type Ingest,
  type IngestItem,
  type JournalBounds,
  type LeaseRow,
} from './ingest.js';

/**
 * Applies a batch within its transaction: six statements, however many workers and builds it is of, and two waits
 * for the database: one for the leases, one for the commit.
 */
export async function commitBatch(
  tx: Transaction,
  events: Events,
  items: readonly IngestItem[],
  bounds: JournalBounds = LIMITS,
): Promise<Ingest['outcomes']> {
  const steps = items.flatMap(({ record }) => {
    if ('kind' in record) return [record.step];
    return 'step' in record.event ? [record.event.step] : [];
  });
  const builds = [...new Set(items.map(({ record }) => record.build))];
  tx.send(PLAN_ONCE);
  tx.send(LOCK, [builds]);
  const leases = await tx.query<LeaseRow>(LEASES, [builds, [...new Set(steps)]]);
  const effects = ingest(items, leases, new Date(), bounds);
  apply(tx, effects);
  const endings = closeAttempts(tx, effects.endings);
  await events.append(tx, [...effects.events, ...endings]);
  return effects.outcomes;
}

function apply(tx: Transaction, { chunks, payload, steps, builds, seqs }: Ingest): void {
  if (steps.length + builds.length + seqs.length === 0) return;
  tx.send(APPLY, [
    JSON.stringify(chunks),
    Buffer.concat(payload),
    JSON.stringify(steps),
    JSON.stringify(builds),
    JSON.stringify(seqs),
  ]);
}

/** Else the joins of `LEASES` are planned anew for each commit: 0.9 ms, where with one plan all of it takes 0.6. */
const PLAN_ONCE = 'SET LOCAL plan_cache_mode = force_generic_plan';

const LOCK = 'SELECT FROM leases WHERE build_id = ANY($1::bigint[]) ORDER BY build_id FOR UPDATE';

// A statement of its own: one that waited for the lock would see the steps as they were before it waited.
const LEASES = `
  SELECT l.build_id AS build, l.epoch, l.worker_id AS "workerId", l.lost_at IS NOT NULL AS lost, l.seq, l.cancel,
         l.request_id AS request, r.attempts, r.failures,
         jsonb_build_object('infrastructure', r.retry_infrastructure, 'failure', r.retry_failure) AS retry,
         bu.name AS builder, w.name AS worker, b.created_at AS "createdAt",
         jsonb_build_object('events', l.events, 'properties', l.properties, 'propertyBytes', l.property_bytes,
           'logStored', l.log_stored) AS used,
         (SELECT jsonb_agg(jsonb_build_array(s.index, s.name, s.kind, s.log_bytes, s.log_lines, s.log_finished))
          FROM steps s WHERE s.build_id = l.build_id AND s.index = ANY($2::int[])) AS steps
  FROM leases l
  JOIN builds b ON b.id = l.build_id
  JOIN build_requests r ON r.id = l.request_id
  JOIN builders bu ON bu.id = b.builder_id
  JOIN workers w ON w.id = l.worker_id
  WHERE l.build_id = ANY($1::bigint[])`;

// The bytes of all chunks come as one parameter, each is cut out of it.
const APPLY = `
  WITH chunks AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS c(
      build bigint, step int, "offset" bigint, seq bigint, stream smallint, length int, line bigint,
      at timestamptz, crc bigint, start int, size int)
  ), stored AS (
    INSERT INTO log_chunks (build_id, step, byte_offset, seq, stream, length, first_line, at, crc32, data)
    SELECT c.build, c.step, c."offset", c.seq, c.stream, c.length, c.line, c.at, c.crc,
           substring($2::bytea FROM c.start + 1 FOR c.size)
    FROM chunks c
  ), stepped AS (
    UPDATE steps s SET
      state = coalesce(p.state, s.state),
      result = coalesce(p.result, s.result),
      reason = coalesce(p.reason, s.reason),
      exit_code = coalesce(p."exitCode", s.exit_code),
      started_at = coalesce(s.started_at, p."startedAt"),
      finished_at = coalesce(p."finishedAt", s.finished_at),
      log_bytes = p."logBytes",
      log_lines = p."logLines",
      log_finished = s.log_finished OR p."logSha256" IS NOT NULL,
      log_sha256 = coalesce(p."logSha256", s.log_sha256)
    FROM jsonb_to_recordset($3::jsonb) AS p(
      build bigint, index int, state text, result text, reason jsonb, "exitCode" int,
      "startedAt" timestamptz, "finishedAt" timestamptz, "logBytes" bigint, "logLines" bigint,
      "logSha256" jsonb)
    WHERE s.build_id = p.build AND s.index = p.index
  ), begun AS (
    UPDATE builds b SET started_at = coalesce(b.started_at, p."startedAt"),
           properties = b.properties || coalesce(
             (SELECT jsonb_object_agg(set.pair->>0, set.pair->>1 ORDER BY set.n)
              FROM jsonb_array_elements(p.properties) WITH ORDINALITY AS set(pair, n)), '{}')
    FROM jsonb_to_recordset($4::jsonb) AS p(build bigint, "startedAt" timestamptz, properties jsonb)
    WHERE b.id = p.build
  ), advanced AS (
    UPDATE leases l SET seq = p.seq, events = p.events, properties = p.properties,
           property_bytes = p."propertyBytes", log_stored = p."logStored"
    FROM jsonb_to_recordset($5::jsonb) AS p(
      build bigint, seq bigint, events int, properties int, "propertyBytes" int, "logStored" bigint)
    WHERE l.build_id = p.build)
  SELECT pg_notify('log', '') WHERE jsonb_array_length($3::jsonb) > 0`;
