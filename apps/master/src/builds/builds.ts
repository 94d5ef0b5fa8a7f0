import { Injectable } from '@nestjs/common';
import type { BuildPlan } from '@impgem/pipeline';
import type { Build, BuildDetail, Page } from '@impgem/client';
import { FarmError, withoutCredentials } from '@impgem/kit';
import { Audit } from '../access/index.js';
import { Artifacts } from '../artifacts/index.js';
import { Builders } from '../builders/index.js';
import { Database, PAGE_LIMIT, pageOf } from '../platform/index.js';
import { Leases } from '../scheduling/index.js';
import {
  BUILD_COLUMNS,
  BUILD_TABLES,
  type BuildRow,
  type StepRow,
  STEPS_OF_BUILD,
  toBuild,
  toStep,
} from './build-rows.js';
import { Conditions, cursor } from './conditions.js';
import type { BuildsQuery } from './wishes.js';

/** Builds as people see them. */
@Injectable()
export class Builds {
  constructor(
    private readonly db: Database,
    private readonly builders: Builders,
    private readonly leases: Leases,
    private readonly artifacts: Artifacts,
    private readonly audit: Audit,
  ) {}

  /** Newest first. Throws `unknown-builder`. */
  async list({ builder, state, result, after, limit }: BuildsQuery): Promise<Page<Build>> {
    const builderId = builder === undefined ? undefined : await this.builders.idOf(builder);
    // Each order has its index: of one builder by number, of all by id.
    const key = builderId === undefined ? 'b.id' : 'b.number';
    const conditions = new Conditions()
      .add('b.builder_id = ?', builderId)
      .add('b.state = ?', state)
      .add('b.result = ?', result)
      .add(`${key} < ?`, cursor(after, builderId === undefined ? 'id' : 'number'));
    // What is not finished has a lease; there are few of those, however long the history.
    if (state !== undefined && state !== 'finished')
      conditions.add('b.id IN (SELECT build_id FROM leases WHERE ?::boolean)', true);
    const rows = await this.db.query<BuildRow>(
      `SELECT ${BUILD_COLUMNS} FROM ${BUILD_TABLES} ${conditions.where}
       ORDER BY ${key} DESC LIMIT ${conditions.param(limit + 1)}`,
      conditions.params,
    );
    return pageOf(rows.map(toBuild), limit, ({ id, number }) =>
      String(builderId === undefined ? id : number),
    );
  }

  /** Throws `not-found`. */
  async get(id: number): Promise<BuildDetail> {
    return this.#detail('b.id = $1', [id], `build ${id}`);
  }

  /** Of a builder, also one that is not in the farm any more. Throws `unknown-builder`, `not-found`. */
  async byNumber(builder: string, number: number): Promise<BuildDetail> {
    const id = await this.builders.idOf(builder);
    if (number > 2 ** 31 - 1)
      throw new FarmError('not-found', `there is no build ${number} of ${builder}`);
    const where = 'b.builder_id = $1 AND b.number = $2';
    return this.#detail(where, [id, number], `build ${number} of ${builder}`);
  }

  /**
   * Asks for the end of a build; again is fine as long as it runs. Throws `not-found`, `already-finished`.
   */
  async cancel(id: number, reason: string | undefined, actor: string): Promise<BuildDetail> {
    await this.db.transaction(async (tx) => {
      const outcome = await this.leases.cancel(tx, id, reason, actor);
      if (outcome === 'not-found') throw new FarmError('not-found', `there is no build ${id}`);
      if (outcome === 'already-finished')
        throw new FarmError('already-finished', `build ${id} is finished already`);
      await this.audit.record(tx, actor, 'build.cancel', `build ${id}`, { reason });
    });
    return this.get(id);
  }

  async #detail(where: string, params: unknown[], what: string): Promise<BuildDetail> {
    const [row] = await this.db.query<BuildRow & { plan: BuildPlan; farm_version: number }>(
      `SELECT ${BUILD_COLUMNS}, b.plan, r.farm_version FROM ${BUILD_TABLES} WHERE ${where}`,
      params,
    );
    if (!row) throw new FarmError('not-found', `there is no ${what}`);
    const [steps, artifacts] = await Promise.all([
      this.db.query<StepRow>(STEPS_OF_BUILD, [row.id]),
      this.artifacts.list(row.id, -1, PAGE_LIMIT.most),
    ]);
    return {
      ...toBuild(row),
      steps: steps.map(toStep),
      artifacts: artifacts.map(({ path, size, sha256, mode, createdAt }) => ({
        path,
        size,
        sha256,
        mode,
        createdAt,
      })),
      plan: shownPlan(row.plan),
      farmVersion: row.farm_version,
    };
  }
}

/** Farm files that were applied before that was refused may have credentials in the address of their source. */
function shownPlan(plan: BuildPlan): object {
  const { source } = plan;
  if (source === undefined) return plan;
  return { ...plan, source: { ...source, git: withoutCredentials(source.git) } };
}
