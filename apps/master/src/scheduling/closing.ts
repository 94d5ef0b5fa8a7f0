/**
 * How an attempt ends: what its build, its request and its lease become. Decided purely (`decideClosing`), applied
 * for many attempts in one statement. Callers hold the lease rows (`FOR UPDATE`), so nobody else ends the same one.
 */
import {
  decideClosing,
  EARLY_MS,
  HOLD_BACK_MS,
  PAUSES_MS,
  QUARANTINE_STRIKES,
  type AttemptEnd,
  type AttemptOutcome,
} from '@impgem/protocol';
import { Counter } from 'prom-client';
import { insertEvents, type NewEvent } from '../events/index.js';
import type { Transaction } from '../platform/index.js';

/** An attempt that ends, and what its rows say about it. */
export interface Ending extends AttemptEnd {
  build: number;
  epoch: number;
  request: number;
  /** The builder's name. */
  builder: string;
  worker: string;
}

/** What it means for its rows. */
interface Closing extends AttemptOutcome {
  build: number;
  request: number;
}

/**
 * Ends the attempts: builds and their open steps finished, requests finished or back in the queue, leases gone
 * or marked as lost. Returns the events, for the caller's one `Events.append`.
 */
export function closeAttempts(tx: Transaction, endings: readonly Ending[]): NewEvent[] {
  if (endings.length === 0) return [];
  const closings = endings.map((ending): Closing => {
    const { build, request } = ending;
    return { build, request, ...decideClosing(ending) };
  });
  tx.send(CLOSE, [JSON.stringify(closings), HOLD_BACK_MS, PAUSES_MS, EARLY_MS, QUARANTINE_STRIKES]);
  return closings.flatMap((closing, index) => {
    const { builder, worker, request, build } = endings[index] as Ending;
    const { result, reason, requeue } = closing;
    finished.inc({ result });
    if (closing.refused) refused.inc();
    const about = { builder, build, request };
    const events: NewEvent[] = [
      { kind: 'build.finished', ...about, worker, data: { result, reason, requeued: requeue } },
    ];
    if (!requeue) events.push({ kind: 'request.finished', ...about, data: { result } });
    return events;
  });
}

const finished = new Counter({
  name: 'impgem_builds_finished_total',
  help: 'Builds that ended, by result',
  labelNames: ['result'],
});

const refused = new Counter({
  name: 'impgem_builds_refused_total',
  help: 'Builds that a worker did not take when they were handed to it',
});

// By worker: how often the request came back from it, and until when (seconds of the epoch) others are to have it.
const times = `coalesce((r.held_back->c.worker::text->>'times')::int, 0) + 1`;
const heldBack = `jsonb_build_object(c.worker::text, jsonb_build_object('times', ${times}, 'until',
  extract(epoch FROM now()) + ($2::float8[])[least(${times}, cardinality($2::float8[]))] / 1000))`;

// A step that ran when its build was ended from outside never ends by itself: its log is closed as it is.
const CLOSE = `
  WITH c AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS c(
      build bigint, request bigint, result text, reason jsonb, requeue boolean, counted int, failed int, lost boolean,
      refused int, "holdBack" boolean, mark text)
  ), had AS MATERIALIZED (
    SELECT c.*, b.worker_id AS worker, b.created_at AS since FROM c JOIN builds b ON b.id = c.build
  ), ended AS (
    UPDATE builds b SET state = 'finished', result = c.result, reason = nullif(c.reason, 'null'),
           finished_at = now()
    FROM c WHERE b.id = c.build
  ), steps_ended AS (
    UPDATE steps s SET state = 'finished', log_finished = true,
           result = CASE s.state WHEN 'pending' THEN 'skipped' ELSE c.result END,
           reason = nullif(c.reason, 'null'),
           finished_at = CASE s.state WHEN 'running' THEN now() END
    FROM c WHERE s.build_id = c.build AND s.state <> 'finished'
  ), answered AS (
    UPDATE build_requests r SET attempts = r.attempts + c.counted, failures = r.failures + c.failed,
           refusals = r.refusals + c.refused,
           held_back = CASE WHEN NOT c.requeue THEN NULL
                            WHEN NOT c."holdBack" THEN r.held_back
                            ELSE coalesce(r.held_back, '{}') || ${heldBack} END,
           state = CASE WHEN c.requeue THEN 'pending' ELSE 'finished' END,
           result = CASE WHEN c.requeue THEN NULL ELSE c.result END,
           finished_at = CASE WHEN c.requeue THEN NULL ELSE now() END
    FROM had c WHERE r.id = c.request
  ), kept AS (
    UPDATE leases l SET lost_at = now() FROM c WHERE l.build_id = c.build AND c.lost
  ), dropped AS (
    DELETE FROM leases l USING c WHERE l.build_id = c.build AND NOT c.lost
  ), cleared AS (
    DELETE FROM worker_standings s WHERE s.worker_id IN (SELECT worker FROM had WHERE mark = 'good')
    RETURNING s.worker_id, s.strikes
  ), struck AS (
    INSERT INTO worker_standings AS s (worker_id, strikes, until, reason)
    SELECT h.worker, 1, now() + ($3::float8[])[1] * interval '1 millisecond',
           (array_agg(h.reason ORDER BY h.build))[1]
    FROM had h LEFT JOIN worker_standings o ON o.worker_id = h.worker
    WHERE (h.mark = 'bad' OR h.mark = 'bad-if-early' AND h.since > now() - $4::float8 * interval '1 millisecond')
      AND (o.until IS NULL OR h.since >= o.until)
      AND NOT EXISTS (SELECT FROM had g WHERE g.worker = h.worker AND g.mark = 'good')
    GROUP BY h.worker ORDER BY h.worker
    ON CONFLICT (worker_id) DO UPDATE SET strikes = s.strikes + 1, reason = excluded.reason,
      until = now() + ($3::float8[])[least(s.strikes + 1, cardinality($3::float8[]))] * interval '1 millisecond'
    RETURNING s.worker_id, s.strikes, s.until, s.reason
  ), told AS (
    ${insertEvents(`
    SELECT 'worker.quarantined', NULL, NULL::bigint, NULL::bigint, w.name, jsonb_build_object(
      'strikes', s.strikes, 'until', s.until, 'reason', s.reason)
    FROM struck s JOIN workers w ON w.id = s.worker_id WHERE s.strikes >= $5::int
    UNION ALL
    SELECT 'worker.cleared', NULL, NULL, NULL, w.name, jsonb_build_object('by', NULL)
    FROM cleared s JOIN workers w ON w.id = s.worker_id WHERE s.strikes >= $5::int`)}
  )
  SELECT pg_notify('queue', '') WHERE EXISTS (SELECT 1 FROM c WHERE requeue)`;
