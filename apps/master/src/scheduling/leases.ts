import { Injectable } from '@nestjs/common';
import type { RetryBounds } from '@impgem/pipeline';
import { keyOf, REASONS, type HeldBuild, type HeldVerdict, type Reason } from '@impgem/protocol';
import { Events, type NewEvent } from '../events/index.js';
import type { Transaction, Tx } from '../platform/index.js';
import { closeAttempts, type Ending } from './closing.js';

/** After a cancel was asked for, the build is ended by force when this much has gone by. */
const CANCEL_DEADLINE_MS = 30_000;

/** One hand-out: which worker holds which attempt, and how much of its journal is committed. */
export interface Lease {
  build: number;
  epoch: number;
  request: number;
  seq: number;
  cancel: { reason: Reason } | null;
  attempts: number;
  failures: number;
  refused: number;
  retry: RetryBounds;
  builder: string;
  worker: string;
}

/** A lease that was given up. */
export interface LostLease extends Lease {
  lostAfterMs: number;
}

/** A build whose cancel was asked for. */
export interface CancelOrder {
  worker: string;
  build: number;
  epoch: number;
  reason: Reason;
}

export type LeaseCancelOutcome = 'cancelling' | 'already-finished' | 'not-found';

/**
 * Who holds what. Rows of leases are always locked before those of builds, steps and requests; only what begins
 * at a waiting request (a claim, taking back a lost build) locks the request first. Before all of them comes the row
 * of the worker: whoever judges all that it has holds it alone, so that nothing is handed to it and nothing of it is
 * given up between two statements; claims share it. Who gives up builds shares it too, but waits for no row. Several
 * leases are locked in the order of their builds.
 */
@Injectable()
export class Leases {
  constructor(private readonly events: Events) {}

  /** Asks for the end of a running build: the worker is told, and a deadline ends it by force. */
  async cancel(
    tx: Transaction,
    build: number,
    reason: string | undefined,
    actor: string,
  ): Promise<LeaseCancelOutcome> {
    const why: Reason = { code: 'cancelled', message: reason ?? `cancelled by ${actor}` };
    const [asked] = await tx.query<{ builder: string; request: number; worker: string }>(CANCEL, [
      build,
      JSON.stringify(why),
      CANCEL_DEADLINE_MS,
    ]);
    if (asked) {
      const data = { reason: why, by: actor };
      await this.events.append(tx, [{ kind: 'build.cancelling', build, ...asked, data }]);
      return 'cancelling';
    }
    const [row] = await tx.query<{ state: string }>('SELECT state FROM builds WHERE id = $1', [
      build,
    ]);
    if (!row) return 'not-found';
    return row.state === 'finished' ? 'already-finished' : 'cancelling';
  }

  /**
   * A worker is back and says what it holds. Returns what it shall do with each, and ends what it should hold
   * and does not. A build that was given up, but that nobody else has claimed, is taken back with its epoch.
   */
  async resume(
    tx: Transaction,
    worker: { id: string; name: string },
    held: readonly HeldBuild[],
  ): Promise<{ verdicts: HeldVerdict[]; events: NewEvent[] }> {
    tx.send(ALONE, [worker.id]);
    const builds = held.map(({ build }) => build);
    const epochs = held.map(({ epoch }) => epoch);
    const events = held.length > 0 ? await this.#takeBack(tx, worker, builds, epochs) : [];
    const leases = await tx.query<Lease>(`${LEASES} AND l.worker_id = $1 ${LOCKED}`, [worker.id]);
    const finished =
      held.length > 0
        ? await tx.query<{ build: number; epoch: number }>(FINISHED, [worker.id, builds, epochs])
        : [];
    const { verdicts, gone } = judge(held, leases, finished);
    const message = `worker ${worker.name} came back without the build`;
    events.push(...closeAttempts(tx, gone.map(ended('retry', 'worker-lost', message))));
    return { verdicts, events };
  }

  /** The worker does not take a build that it was given; the request waits again. Returns whether it had it. */
  async refuse(
    tx: Transaction,
    workerId: string,
    ref: { build: number; epoch: number },
    reason: Reason,
  ): Promise<boolean> {
    const params = [workerId, ref.build, ref.epoch];
    const [lease] = await tx.query<Lease>(
      `${LEASES} AND l.worker_id = $1 AND l.build_id = $2 AND l.epoch = $3 ${LOCKED}`,
      params,
    );
    if (!lease) return false;
    const known = REASONS[reason.code as keyof typeof REASONS];
    const result = known?.result === 'retry' ? 'retry' : 'exception';
    const ending = ended(result, reason.code, reason.message)(lease);
    // What no retry mends counts as an attempt; the rest as a refusal, of which there may be more.
    const counted = result !== 'retry';
    const refusals = lease.refused;
    await this.events.append(tx, closeAttempts(tx, [{ ...ending, counted, refusals }]));
    return true;
  }

  /** Ends an attempt for a reason of the master's own; what its worker still sends of it is told so. */
  async end(
    tx: Transaction,
    ref: { build: number; epoch: number },
    reason: Reason,
  ): Promise<boolean> {
    const params = [ref.build, ref.epoch];
    const [lease] = await tx.query<Lease>(
      `${LEASES} AND l.build_id = $1 AND l.epoch = $2 ${LOCKED}`,
      params,
    );
    if (!lease) return false;
    const { result } = REASONS[reason.code as keyof typeof REASONS];
    const ending = ended(result, reason.code, reason.message)(lease);
    await this.events.append(tx, closeAttempts(tx, [ending]));
    tx.send('NOTIFY lease');
    return true;
  }

  /**
   * Gives back what was claimed for a connection that never got it, since the master did not learn that the claim
   * was committed; `held` is what the connection has. Nothing when there is a newer connection of the worker, whose
   * greeting has seen to it.
   */
  async withdraw(
    tx: Transaction,
    worker: { id: string; name: string; connectedAt: Date },
    held: readonly { build: number; epoch: number }[],
  ): Promise<number> {
    const current = await tx.query(CURRENT, [worker.id, worker.connectedAt]);
    if (current.length === 0) return 0;
    const leases = await tx.query<Lease>(
      `${LEASES} AND l.worker_id = $1 AND l.build_id <> ALL($2::bigint[]) ${LOCKED}`,
      [worker.id, held.map(({ build }) => build)],
    );
    const message = `worker ${worker.name} never got the build`;
    const endings = leases.map((lease) => ({
      ...ended('retry', 'worker-lost', message)(lease),
      counted: false,
    }));
    await this.events.append(tx, closeAttempts(tx, endings));
    return leases.length;
  }

  /** Ends all that a worker holds, since it may hold nothing any more. */
  async abandon(tx: Transaction, workerId: string, reason: Reason): Promise<NewEvent[]> {
    tx.send(ALONE, [workerId]);
    const leases = await tx.query<Lease>(`${LEASES} AND l.worker_id = $1 ${LOCKED}`, [workerId]);
    return closeAttempts(tx, leases.map(ended('retry', reason.code, reason.message)));
  }

  /**
   * Gives up the builds of workers that were not heard of for `lostAfterMs`, or what their builder says instead.
   * `connected` are heard right now; `heardMs` is how long this master could have heard the others.
   */
  async lose(
    tx: Transaction,
    connected: readonly string[],
    heardMs: number,
    lostAfterMs: number,
  ): Promise<LostLease[]> {
    const lost = await tx.query<LostLease>(LOSE, [connected, lostAfterMs, heardMs]);
    const endings = lost.map((lease): Ending => {
      const message = `worker ${lease.worker} was not heard of for ${Math.round(lease.lostAfterMs / 1000)} s`;
      return { ...ended('retry', 'worker-lost', message)(lease), lost: true };
    });
    const events = closeAttempts(tx, endings);
    const names = [...new Set(lost.map(({ worker }) => worker))];
    events.push(...names.map((worker): NewEvent => ({ kind: 'worker.lost', worker })));
    await this.events.append(tx, events);
    return lost;
  }

  /** Ends by force the builds whose cancel nobody answered in time, and has their workers told to stop. */
  async forceCancelled(tx: Transaction): Promise<Lease[]> {
    const overdue = await tx.query<Lease>(
      `${LEASES} AND (l.cancel->>'deadline')::timestamptz < now() ${LOCKED} SKIP LOCKED`,
    );
    if (overdue.length === 0) return [];
    const endings = overdue.map(ended('cancelled', 'cancelled', 'cancelled'));
    await this.events.append(tx, closeAttempts(tx, endings));
    tx.send('NOTIFY lease');
    return overdue;
  }

  /**
   * Ends the builds that their workers have not ended so long after their timeout, and has those told to stop. A
   * worker that was away, or that no master could hear, may still deliver an end from the time before: it is given
   * `graceMs` for that, and as long as it may be silent.
   */
  async endOverdue(
    tx: Transaction,
    heardMs: number,
    graceMs: number,
    lostAfterMs: number,
  ): Promise<Lease[]> {
    const overdue = await tx.query<Lease>(OVERDUE, [heardMs, graceMs, lostAfterMs]);
    if (overdue.length === 0) return [];
    const endings = overdue.map((lease): Ending => {
      const message = `worker ${lease.worker} did not end it ${Math.round(graceMs / 1000)} s after its timeout`;
      return ended('exception', 'build-overdue', message)(lease);
    });
    await this.events.append(tx, closeAttempts(tx, endings));
    tx.send('NOTIFY lease');
    return overdue;
  }

  /** The cancels that were asked of these workers. */
  async cancelOrders(tx: Tx, workerIds: readonly string[]): Promise<CancelOrder[]> {
    return tx.query<CancelOrder>(CANCEL_ORDERS, [workerIds]);
  }

  /** Whether the attempt is this worker's right now. */
  async holds(tx: Tx, workerId: string, ref: { build: number; epoch: number }): Promise<boolean> {
    const rows = await tx.query(HOLDS, [workerId, ref.build, ref.epoch]);
    return rows.length > 0;
  }

  /** Those of the given attempts that no worker of the given ones holds any more. */
  async ended(tx: Tx, attempts: readonly { build: number; epoch: number }[]): Promise<Set<number>> {
    const rows = await tx.query<{ build: number }>(GONE, [
      attempts.map(({ build }) => build),
      attempts.map(({ epoch }) => epoch),
    ]);
    return new Set(rows.map(({ build }) => build));
  }

  async #takeBack(
    tx: Transaction,
    worker: { id: string; name: string },
    builds: number[],
    epochs: number[],
  ): Promise<NewEvent[]> {
    const requests = await tx.query<{ id: number }>(RECLAIM, [worker.id, builds, epochs]);
    if (requests.length === 0) return [];
    const ids = requests.map(({ id }) => id);
    tx.send(IN_ORDER, [worker.id, ids]);
    const rows = await tx.query<{ build: number; request: number; builder: string }>(REOPEN, [ids]);
    return rows.map((row) => ({
      kind: 'build.assigned',
      ...row,
      worker: worker.name,
      data: { resumed: true },
    }));
  }
}

/** What a worker shall do with each build it holds, and which leases it does not live up to. */
function judge(
  held: readonly HeldBuild[],
  leases: readonly Lease[],
  finished: readonly { build: number; epoch: number }[],
): { verdicts: HeldVerdict[]; gone: Lease[] } {
  const byKey = new Map(leases.map((lease) => [keyOf(lease), lease]));
  const done = new Set(finished.map(keyOf));
  const kept = new Set<Lease>();
  const verdicts = held.map(({ build, epoch, seq, finished: ran }): HeldVerdict => {
    const lease = byKey.get(keyOf({ build, epoch }));
    // With less in its journal than is committed, it has lost its disk: it cannot go on.
    if (lease && seq >= lease.seq) {
      kept.add(lease);
      const cancel = lease.cancel !== null;
      return { build, epoch, verdict: 'continue', seq: lease.seq, cancel };
    }
    // One that still runs must be stopped, also when the farm is through with it.
    const verdict = ran && !lease && done.has(keyOf({ build, epoch })) ? 'release' : 'stop';
    return { build, epoch, verdict, seq: 0, cancel: false };
  });
  return { verdicts, gone: leases.filter((lease) => !kept.has(lease)) };
}

/** The end of a lease's attempt from outside. */
function ended(result: Ending['result'], code: string, message: string) {
  return (lease: Lease): Ending => ({
    ...lease,
    cancel: lease.cancel?.reason,
    result,
    reason: { code, message },
    counted: true,
  });
}

const COLUMNS = `
  l.build_id AS build, l.epoch, l.request_id AS request, l.seq, l.cancel, r.attempts, r.failures, r.refusals AS refused,
  jsonb_build_object('infrastructure', r.retry_infrastructure, 'failure', r.retry_failure) AS retry,
  b.name AS builder, w.name AS worker`;
const FROM = `
  FROM leases l
  JOIN build_requests r ON r.id = l.request_id
  JOIN builders b ON b.id = r.builder_id
  JOIN workers w ON w.id = l.worker_id
  WHERE l.lost_at IS NULL`;
const LEASES = `SELECT ${COLUMNS} ${FROM}`;
const LOCKED = 'ORDER BY l.build_id FOR UPDATE OF l';
const ALONE = 'SELECT FROM workers WHERE id = $1 FOR NO KEY UPDATE';
// A worker that greets, or has done so since the rows were read, is not silent: with its row locked, its newest
// version decides.
const LOSE = `
  SELECT ${COLUMNS}, coalesce(r.lost_after_ms, $2::float8) AS "lostAfterMs" ${FROM}
    AND l.worker_id <> ALL($1::uuid[]) AND coalesce(r.lost_after_ms, $2::float8) <= $3::float8
    AND greatest(l.granted_at, w.last_seen_at)
        < now() - coalesce(r.lost_after_ms, $2::float8) * interval '1 millisecond'
  ${LOCKED} SKIP LOCKED FOR SHARE OF w SKIP LOCKED`;

const OVERDUE = `
  SELECT ${COLUMNS} ${FROM}
    AND $1::float8 >= $2::float8 + coalesce(r.lost_after_ms, $3::float8)
    AND l.due_at < now() - ($2::float8 + coalesce(r.lost_after_ms, $3::float8)) * interval '1 millisecond'
  ${LOCKED} SKIP LOCKED`;

const CANCEL = `
  WITH asked AS (
    UPDATE leases SET cancel = jsonb_build_object(
      'reason', $2::jsonb, 'deadline', now() + $3::float8 * interval '1 millisecond')
    WHERE build_id = $1 AND lost_at IS NULL AND cancel IS NULL
    RETURNING build_id, request_id, worker_id
  ), told AS (
    UPDATE builds SET state = 'cancelling' FROM asked WHERE builds.id = asked.build_id
    RETURNING builds.builder_id)
  SELECT b.name AS builder, asked.request_id AS request, w.name AS worker, pg_notify('lease', '') AS told
  FROM asked CROSS JOIN told JOIN builders b ON b.id = told.builder_id
  JOIN workers w ON w.id = asked.worker_id`;
const CANCEL_ORDERS = `
  SELECT worker_id AS worker, build_id AS build, epoch, cancel->'reason' AS reason
  FROM leases WHERE cancel IS NOT NULL AND lost_at IS NULL AND worker_id = ANY($1::uuid[])`;
const CURRENT = `
  SELECT 1 FROM workers WHERE id = $1 AND connected_at = $2 AND disconnected_at IS NULL FOR NO KEY UPDATE`;
const HOLDS = `
  SELECT 1 FROM leases WHERE worker_id = $1 AND build_id = $2 AND epoch = $3 AND lost_at IS NULL`;
const GONE = `
  SELECT h.build FROM unnest($1::bigint[], $2::int[]) AS h(build, epoch)
  WHERE NOT EXISTS (
    SELECT 1 FROM leases l WHERE l.build_id = h.build AND l.epoch = h.epoch AND l.lost_at IS NULL)`;
const FINISHED = `
  SELECT b.id AS build, b.epoch FROM unnest($2::bigint[], $3::int[]) AS h(build, epoch)
  JOIN builds b ON b.id = h.build AND b.epoch = h.epoch
  WHERE b.worker_id = $1 AND b.state = 'finished'`;

// Whoever gets the request's row first has it: this, or the claim of another worker.
const RECLAIM = `
  UPDATE build_requests r SET state = 'claimed', attempts = r.attempts - 1
  FROM leases l JOIN unnest($2::bigint[], $3::int[]) AS h(build, epoch)
    ON h.build = l.build_id AND h.epoch = l.epoch
  WHERE l.worker_id = $1 AND l.lost_at IS NOT NULL
    AND r.id = l.request_id AND r.state = 'pending' AND r.epoch = l.epoch
  RETURNING r.id`;
// Those that are taken back and those that it has all along: a batch of its records may hold some, and wait for others.
const IN_ORDER = `
  SELECT FROM leases WHERE worker_id = $1 AND (lost_at IS NULL OR request_id = ANY($2::bigint[]))
  ORDER BY build_id FOR UPDATE`;
const REOPEN = `
  WITH taken AS (
    UPDATE leases SET lost_at = NULL, granted_at = now() WHERE request_id = ANY($1::bigint[])
    RETURNING build_id, request_id
  ), reopened AS (
    UPDATE builds SET state = 'running', result = NULL, reason = NULL, finished_at = NULL
    FROM taken WHERE builds.id = taken.build_id
    RETURNING builds.id AS build, builds.request_id AS request, builds.builder_id
  ), steps_reopened AS (
    UPDATE steps SET result = NULL, reason = NULL, finished_at = NULL, log_finished = false,
           state = CASE WHEN started_at IS NULL THEN 'pending' ELSE 'running' END
    FROM taken WHERE steps.build_id = taken.build_id AND steps.reason->>'code' = 'worker-lost')
  SELECT build, request, b.name AS builder FROM reopened JOIN builders b ON b.id = reopened.builder_id`;
