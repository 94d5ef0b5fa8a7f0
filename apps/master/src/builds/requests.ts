import { setImmediate as nextTurn } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import type { BuildRequest, Page } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { resolveProperties } from '@impgem/pipeline';
import { Audit } from '../access/index.js';
import { type ActiveBuilder, Builders } from '../builders/index.js';
import { Database, pageOf } from '../platform/index.js';
import { Intake, Queue, QueueBound, type Submission, type Submitted } from '../scheduling/index.js';
import { Conditions, cursor } from './conditions.js';
import type { BuildWish, RequestsQuery } from './wishes.js';

/** Build requests: made, listed, cancelled. */
@Injectable()
export class Requests {
  constructor(
    private readonly db: Database,
    private readonly builders: Builders,
    private readonly queue: Queue,
    private readonly intake: Intake,
    private readonly bound: QueueBound,
    private readonly audit: Audit,
  ) {}

  /**
   * Puts a wish in the queue, with the builder's definition of now. Throws `unknown-builder`,
   * `undeclared-property`, `invalid-property`, `queue-full`.
   */
  async submit(wish: BuildWish, actor: string): Promise<BuildRequest> {
    let taken = false;
    for (let fresh = false; ; fresh = true) {
      const builder = await this.builders.remembered(wish.builder, fresh);
      const { submission, problems } = resolve(builder, wish, actor);
      if (problems.length === 0) {
        if (!taken) await this.bound.take(actor, 1);
        taken = true;
        const submitted = await this.intake.submit(submission);
        // It had changed: a farm file was applied since.
        if (submitted) return waiting(submission, submitted);
      } else if (fresh) throw refused(problems);
      // What was refused by a farm file that is remembered may be in order by now.
    }
  }

  /**
   * The same for many, in one transaction: all of them or none. Throws the code of the first problem, with every
   * problem of every wish.
   */
  async submitAll(wishes: readonly BuildWish[], actor: string): Promise<BuildRequest[]> {
    let taken = false;
    for (let fresh = false; ; fresh = true) {
      const { submissions, problems } = await this.#resolveAll(wishes, actor, fresh);
      // What was refused by a farm file that is remembered may be in order by now.
      if (problems.length > 0 && !fresh) continue;
      if (problems.length > 0) throw refusedBatch(problems, wishes.length);
      if (!taken) await this.bound.take(actor, wishes.length);
      taken = true;
      const submitted = await this.#submitTogether(submissions);
      if (submitted)
        return submissions.map((submission, n) => waiting(submission, submitted[n] as Submitted));
    }
  }

  /** Undefined, and nothing is submitted, when a builder is not what it was. */
  async #submitTogether(submissions: readonly Submission[]): Promise<Submitted[] | undefined> {
    const stale = new Error('a builder has changed');
    try {
      return await this.db.transaction(async (tx) => {
        const all: Submitted[] = [];
        // Each has its properties with it, defaults too: together they must not become too long for a statement.
        for (let at = 0; at < submissions.length; at += PER_STATEMENT)
          for (const one of await this.queue.submit(
            tx,
            submissions.slice(at, at + PER_STATEMENT),
          )) {
            if (!one) throw stale;
            all.push(one);
          }
        return all;
      });
    } catch (error) {
      if (error === stale) return undefined;
      throw error;
    }
  }

  async #resolveAll(wishes: readonly BuildWish[], actor: string, fresh: boolean) {
    const builders = new Map<string, ActiveBuilder | FarmError>();
    const problems: WishProblem[] = [];
    const submissions: Submission[] = [];
    for (const [n, wish] of wishes.entries()) {
      // Each has up to a hundred properties to check: others get their turn in between.
      if (n % PER_TURN === PER_TURN - 1) await nextTurn();
      const name = wish.builder;
      const builder = builders.get(name) ?? (await this.#builderOrRefusal(name, fresh));
      builders.set(name, builder);
      if (builder instanceof FarmError) {
        const { code, message } = builder;
        problems.push({ code, path: `requests[${n}].builder`, message });
        continue;
      }
      const resolved = resolve(builder, wish, actor);
      for (const problem of resolved.problems)
        problems.push({ ...problem, path: `requests[${n}].${problem.path}` });
      submissions.push(resolved.submission);
    }
    return { submissions, problems };
  }

  async #builderOrRefusal(name: string, fresh: boolean): Promise<ActiveBuilder | FarmError> {
    try {
      return await this.builders.remembered(name, fresh);
    } catch (error) {
      if (error instanceof FarmError && error.code === 'unknown-builder') return error;
      throw error;
    }
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

/** What a wish comes to with the builder's definition, and what is wrong with its properties. */
function resolve(builder: ActiveBuilder, wish: BuildWish, submittedBy: string) {
  const { properties, problems } = resolveProperties(builder.definition, wish.properties ?? {});
  const { priority = 0, reason = null } = wish;
  const submission: Submission = { builder, properties, priority, reason, submittedBy };
  return { submission, problems };
}

/** Wishes that are checked in one turn of the event loop. */
const PER_TURN = 20;
/** Requests in a statement: the properties of one have up to a hundred KiB. */
const PER_STATEMENT = 50;
/** Problems of a batch that are told. */
const MOST_PROBLEMS = 100;

interface WishProblem {
  code: string;
  path: string;
  message: string;
}

function refusedBatch(problems: readonly WishProblem[], count: number): FarmError {
  const [first] = problems;
  const bad = new Set(problems.map(({ path }) => path.slice(0, path.indexOf(']'))));
  const told = problems.slice(0, MOST_PROBLEMS).map(({ path, message }) => ({ path, message }));
  const text = `nothing was asked for, since ${bad.size} of ${count} requests are not in order: ${first?.path}: ${first?.message}`;
  return new FarmError(first?.code ?? 'invalid-request', text, { problems: told });
}

/** A request as it is just after it was submitted. */
function waiting(
  { builder, properties, priority, reason, submittedBy }: Submission,
  { id, submittedAt }: Submitted,
): BuildRequest {
  return {
    id,
    builder: builder.name,
    state: 'pending',
    result: null,
    properties,
    priority,
    reason,
    submittedBy,
    submittedAt: submittedAt.toISOString(),
    builds: [],
  };
}

function refused(problems: readonly WishProblem[]): FarmError {
  return new FarmError(
    problems[0]?.code ?? 'invalid-request',
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
