import { Injectable } from '@nestjs/common';
import type { BuildRequest, Page } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { type BuilderDefinition, resolveProperties } from '@impgem/pipeline';
import { Audit } from '../access/index.js';
import { Builders } from '../builders/index.js';
import { Database, pageOf } from '../platform/index.js';
import { Queue } from '../scheduling/index.js';
import { Conditions, cursor } from './conditions.js';
import type { BuildWish, RequestsQuery } from './wishes.js';

/** Build requests: made, listed, cancelled. */
@Injectable()
export class Requests {
  constructor(
    private readonly db: Database,
    private readonly builders: Builders,
    private readonly queue: Queue,
    private readonly audit: Audit,
  ) {}

  /**
   * Puts a wish in the queue, with the builder's definition of now. Throws `unknown-builder`,
   * `undeclared-property`, `invalid-property`.
   */
  async submit(wish: BuildWish, actor: string): Promise<BuildRequest> {
    const id = await this.db.transaction(async (tx) => {
      const builder = await this.builders.definition(wish.builder, tx);
      const properties = checkedProperties(builder.definition, wish.properties ?? {});
      const { priority = 0, reason = null } = wish;
      const request = await this.queue.submit(tx, {
        builder,
        properties,
        priority,
        reason,
        submittedBy: actor,
      });
      const detail = { request, properties, priority };
      await this.audit.record(tx, actor, 'build-request.create', builder.name, detail);
      return request;
    });
    return this.get(id);
  }

  /** Newest first. Throws `unknown-builder`. */
  async list({ builder, state, after, limit }: RequestsQuery): Promise<Page<BuildRequest>> {
    const builderId = builder === undefined ? undefined : await this.builders.idOf(builder);
    const conditions = new Conditions()
      .add('r.builder_id = ?', builderId)
      .add('r.state = ?', state)
      .add('r.id < ?', cursor(after));
    const rows = await this.db.query<RequestRow>(
      `${SELECT} ${conditions.where} ORDER BY r.id DESC LIMIT ${conditions.param(limit + 1)}`,
      conditions.params,
    );
    return pageOf(rows.map(toRequest), limit, ({ id }) => String(id));
  }

  /** Throws `not-found`. */
  async get(id: number): Promise<BuildRequest> {
    const [row] = await this.db.query<RequestRow>(`${SELECT} WHERE r.id = $1`, [id]);
    if (!row) throw new FarmError('not-found', `there is no build request ${id}`);
    return toRequest(row);
  }

  /**
   * Ends a request that waits, or asks for the end of the build that it is claimed by; again is fine until it is
   * finished. Throws `not-found`, `already-finished`.
   */
  async cancel(id: number, reason: string | undefined, actor: string): Promise<BuildRequest> {
    await this.db.transaction(async (tx) => {
      const outcome = await this.queue.cancelRequest(tx, id, reason, actor);
      if (outcome === 'not-found')
        throw new FarmError('not-found', `there is no build request ${id}`);
      if (outcome === 'already-finished')
        throw new FarmError('already-finished', `build request ${id} is finished already`);
      await this.audit.record(tx, actor, 'build-request.cancel', `build request ${id}`, { reason });
    });
    return this.get(id);
  }
}

function checkedProperties(
  definition: BuilderDefinition,
  given: Record<string, unknown>,
): Record<string, string> {
  const { properties, problems } = resolveProperties(definition, given);
  const [first] = problems;
  if (!first) return properties;
  throw new FarmError(
    first.code,
    problems.map(({ path, message }) => `${path}: ${message}`).join('; '),
    { problems: problems.map(({ path, message }) => ({ path, message })) },
  );
}

interface RequestRow extends Omit<BuildRequest, 'submittedAt' | 'submittedBy'> {
  submitted_at: Date;
  submitted_by: string;
}

function toRequest({ submitted_at, submitted_by, ...row }: RequestRow): BuildRequest {
  return { ...row, submittedAt: submitted_at.toISOString(), submittedBy: submitted_by };
}

const SELECT = `
  SELECT r.id, bl.name AS builder, r.state, r.result, r.reason, r.properties, r.priority, r.submitted_at,
         r.submitted_by, attempts.builds
  FROM build_requests r JOIN builders bl ON bl.id = r.builder_id
  CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'id', b.id, 'number', b.number, 'state', b.state, 'result', b.result) ORDER BY b.epoch), '[]') AS builds
    FROM builds b WHERE b.request_id = r.id) attempts`;
