import { Injectable } from '@nestjs/common';
import { DEFAULT_RETRY, type BuilderDefinition } from '@impgem/pipeline';
import { insertAudit } from '../access/index.js';
import { Events, insertEvents } from '../events/index.js';
import type { Transaction, Tx } from '../platform/index.js';
import { Leases } from './leases.js';

/** One step of priority outweighs this much waiting. */
const PRIORITY_WORTH_MS = 600_000;

/** A wish, checked: the builder exists and the properties are declared, with their defaults filled in. */
export interface Submission {
  builder: { id: number; name: string; farmVersion: number; definition: BuilderDefinition };
  properties: Record<string, string>;
  priority: number;
  reason: string | null;
  /** An actor, e.g. `token:ann`. */
  submittedBy: string;
}

/** A request that waits now. */
export interface Submitted {
  id: number;
  submittedAt: Date;
}

export type CancelOutcome = 'cancelled' | 'cancelling' | 'already-finished' | 'not-found';

/**
 * The queue of build requests. Requests with the same needs (labels, workers) share a group, so that a worker
 * looks only where it can serve; one rank, fixed at submit, orders them all: the time of submission, moved
 * ahead by priority. So priority is global, and waiting outweighs it in the end.
 */
@Injectable()
export class Queue {
  /** Groups that are committed; never more than there are distinct needs. */
  readonly #groups = new Map<string, number>();

  constructor(
    private readonly events: Events,
    private readonly leases: Leases,
  ) {}

  /**
   * Puts wishes in the queue, each with its event and its line in the audit, and wakes the dispatchers at commit:
   * all in one statement. Undefined for a wish whose builder is not what it was: taken out of the farm, or of
   * another version by now.
   */
  async submit(tx: Tx, submissions: readonly Submission[]): Promise<(Submitted | undefined)[]> {
    const wishes = [];
    for (const [n, submission] of submissions.entries()) {
      const { builder, properties, priority, reason, submittedBy } = submission;
      const { name, definition } = builder;
      const { lostAfterMs = null, retry } = definition;
      const { infrastructure, failure } = { ...DEFAULT_RETRY, ...retry };
      wishes.push({
        n,
        builder: builder.id,
        name,
        version: builder.farmVersion,
        group: await this.#group(tx, definition.labels, definition.workers),
        properties,
        priority,
        rank: Date.now() - priority * PRIORITY_WORTH_MS,
        reason,
        by: submittedBy,
        infrastructure,
        failure,
        lostAfterMs,
      });
    }
    const rows = await tx.query<{ n: number; id: number; submittedAt: Date }>(SUBMIT, [
      JSON.stringify(wishes),
    ]);
    const submitted = new Map(rows.map(({ n, ...row }) => [n, row]));
    return wishes.map(({ n }) => submitted.get(n));
  }

  /**
   * Ends a request that waits at once, or asks for the end of the build that it is claimed by. `reason` is a
   * sentence for people.
   */
  async cancelRequest(
    tx: Transaction,
    id: number,
    reason: string | undefined,
    actor: string,
  ): Promise<CancelOutcome> {
    tx.send('SAVEPOINT look');
    // Between two looks the request may be claimed, or its attempt may end and it waits again: then another look.
    for (;;) {
      if (await this.#endWaiting(tx, id, reason, actor)) return 'cancelled';
      tx.send(LET_GO);
      const [request] = await tx.query<{ state: string; build: number | null }>(CLAIMED_BY, [id]);
      if (!request) return 'not-found';
      if (request.state === 'finished') return 'already-finished';
      if (request.build === null) continue;
      const outcome = await this.leases.cancel(tx, request.build, reason, actor);
      if (outcome === 'cancelling') return 'cancelling';
      tx.send(LET_GO);
    }
  }

  /** Whether it did wait. The row lock of a claim under way makes this wait for it, and then match nothing. */
  async #endWaiting(
    tx: Transaction,
    id: number,
    reason: string | undefined,
    actor: string,
  ): Promise<boolean> {
    const [ended] = await tx.query<{ builder: string }>(END_PENDING, [id]);
    if (!ended) return false;
    tx.send('DELETE FROM leases WHERE request_id = $1 AND lost_at IS NOT NULL', [id]);
    const data = { result: 'cancelled', reason: reason ?? null, by: actor };
    await this.events.append(tx, [
      { kind: 'request.finished', builder: ended.builder, request: id, data },
    ]);
    return true;
  }

  async #group(tx: Tx, labels: readonly string[], workers: readonly string[]): Promise<number> {
    const needs = [[...new Set(labels)].sort(), [...new Set(workers)].sort()];
    const key = JSON.stringify(needs);
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const find = async () => (await tx.query<{ id: number }>(FIND_GROUP, needs))[0]?.id;
    const found = await find();
    if (found !== undefined) {
      this.#groups.set(key, found);
      return found;
    }
    // Not remembered yet: a transaction may still roll back.
    const [made] = await tx.query<{ id: number }>(MAKE_GROUP, needs);
    return made?.id ?? ((await find()) as number);
  }
}

const FIND_GROUP = `SELECT id FROM requirement_groups WHERE labels = $1::text[] AND workers = $2::text[]`;
const MAKE_GROUP = `
  INSERT INTO requirement_groups (labels, workers) VALUES ($1::text[], $2::text[])
  ON CONFLICT DO NOTHING RETURNING id`;
const SUBMIT = `
  WITH wishes AS MATERIALIZED (
    SELECT nextval('build_requests_id_seq') AS id, w.* FROM jsonb_to_recordset($1::jsonb) AS w(
      n int, builder int, name text, version int, "group" int, properties jsonb, priority int,
      rank bigint, reason text, by text, infrastructure int, failure int, "lostAfterMs" bigint)
    JOIN builders b ON b.id = w.builder AND b.farm_version = w.version AND b.active
    ORDER BY w.n
  ), submitted AS (
    INSERT INTO build_requests
      (id, builder_id, farm_version, group_id, properties, reason, priority, rank, submitted_by,
       retry_infrastructure, retry_failure, lost_after_ms)
    OVERRIDING SYSTEM VALUE
    SELECT id, builder, version, "group", properties, reason, priority, rank, by,
           infrastructure, failure, "lostAfterMs" FROM wishes
  ), told AS (
    ${insertEvents(`
    SELECT 'request.submitted', name, NULL, id, NULL, jsonb_build_object(
      'properties', properties, 'priority', priority, 'reason', reason, 'submittedBy', by)
    FROM wishes ORDER BY n`)}
  ), audited AS (
    ${insertAudit(`
    SELECT by, 'build-request.create', name, jsonb_build_object(
      'request', id, 'properties', properties, 'priority', priority)
    FROM wishes ORDER BY n`)}
  )
  SELECT n, id, now() AS "submittedAt", pg_notify('queue', "group"::text), pg_notify('events', '') FROM wishes`;
// A row that was waited for stays locked also when it is not what was looked for any more; the next look is at one
// whose holder may wait for it.
const LET_GO = 'ROLLBACK TO SAVEPOINT look';
const END_PENDING = `
  UPDATE build_requests r SET state = 'finished', result = 'cancelled', finished_at = now()
  FROM builders b WHERE r.id = $1 AND r.state = 'pending' AND b.id = r.builder_id RETURNING b.name AS builder`;
const CLAIMED_BY = `
  SELECT r.state, l.build_id AS build FROM build_requests r
  LEFT JOIN leases l ON l.request_id = r.id AND l.lost_at IS NULL WHERE r.id = $1`;
