import { Injectable } from '@nestjs/common';
import { DEFAULT_RETRY, type BuilderDefinition } from '@impgem/pipeline';
import { Events } from '../events/index.js';
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

  /** Inserts a request and wakes the dispatchers at commit. Returns its id. */
  async submit(tx: Transaction, submission: Submission): Promise<number> {
    const { builder, properties, priority, reason, submittedBy } = submission;
    const { lostAfterMs = null, retry } = builder.definition;
    const { infrastructure, failure } = { ...DEFAULT_RETRY, ...retry };
    const group = await this.#group(tx, builder.definition.labels, builder.definition.workers);
    const [row] = await tx.query<{ id: number }>(SUBMIT, [
      builder.id,
      builder.farmVersion,
      JSON.stringify(builder.definition),
      group,
      JSON.stringify(properties),
      reason,
      priority,
      Date.now() - priority * PRIORITY_WORTH_MS,
      submittedBy,
      infrastructure,
      failure,
      lostAfterMs,
    ]);
    const id = (row as { id: number }).id;
    await this.events.append(tx, [
      {
        kind: 'request.submitted',
        builder: builder.name,
        request: id,
        data: { properties, priority, reason, submittedBy },
      },
    ]);
    return id;
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
    // Between two looks the request may be claimed, or its attempt may end and it waits again: then another look.
    for (;;) {
      if (await this.#endWaiting(tx, id, reason, actor)) return 'cancelled';
      const [request] = await tx.query<{ state: string; build: number | null }>(CLAIMED_BY, [id]);
      if (!request) return 'not-found';
      if (request.state === 'finished') return 'already-finished';
      if (request.build === null) continue;
      const outcome = await this.leases.cancel(tx, request.build, reason, actor);
      if (outcome === 'cancelling') return 'cancelling';
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
    // Not remembered yet: this transaction may still roll back.
    const [made] = await tx.query<{ id: number }>(MAKE_GROUP, needs);
    return made?.id ?? ((await find()) as number);
  }
}

const FIND_GROUP = `SELECT id FROM requirement_groups WHERE labels = $1::text[] AND workers = $2::text[]`;
const MAKE_GROUP = `
  INSERT INTO requirement_groups (labels, workers) VALUES ($1::text[], $2::text[])
  ON CONFLICT DO NOTHING RETURNING id`;
const SUBMIT = `
  WITH submitted AS (
    INSERT INTO build_requests
      (builder_id, farm_version, definition, group_id, properties, reason, priority, rank, submitted_by,
       retry_infrastructure, retry_failure, lost_after_ms)
    VALUES ($1, $2, $3::jsonb, $4, $5::jsonb, $6, $7, $8, $9, $10, $11, $12) RETURNING id)
  SELECT id, pg_notify('queue', '') FROM submitted`;
const END_PENDING = `
  UPDATE build_requests r SET state = 'finished', result = 'cancelled', finished_at = now()
  FROM builders b WHERE r.id = $1 AND r.state = 'pending' AND b.id = r.builder_id RETURNING b.name AS builder`;
const CLAIMED_BY = `
  SELECT r.state, l.build_id AS build FROM build_requests r
  LEFT JOIN leases l ON l.request_id = r.id AND l.lost_at IS NULL WHERE r.id = $1`;
