/**
 * How an attempt ends: what its build, its request and its lease become. Decided purely (`decideClosing`), applied
 * for many attempts in one statement. Callers hold the lease rows (`FOR UPDATE`), so nobody else ends the same one.
 */
import { decideClosing, type AttemptEnd, type AttemptOutcome } from '@impgem/protocol';
import { Counter } from 'prom-client';
import type { NewEvent } from '../events/index.js';
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
  tx.send(CLOSE, [JSON.stringify(closings)]);
  return closings.flatMap((closing, index) => {
    const { builder, worker, request, build } = endings[index] as Ending;
    const { result, reason, requeue } = closing;
    finished.inc({ result });
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

// A step that ran when its build was ended from outside never ends by itself: its log is closed as it is.
const CLOSE = `
  WITH c AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS c(
      build bigint, request bigint, result text, reason jsonb, requeue boolean, counted int, failed int, lost boolean)
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
           state = CASE WHEN c.requeue THEN 'pending' ELSE 'finished' END,
           result = CASE WHEN c.requeue THEN NULL ELSE c.result END,
           finished_at = CASE WHEN c.requeue THEN NULL ELSE now() END
    FROM c WHERE r.id = c.request
  ), kept AS (
    UPDATE leases l SET lost_at = now() FROM c WHERE l.build_id = c.build AND c.lost
  ), dropped AS (
    DELETE FROM leases l USING c WHERE l.build_id = c.build AND NOT c.lost
  )
  SELECT pg_notify('queue', '') WHERE EXISTS (SELECT 1 FROM c WHERE requeue)`;
