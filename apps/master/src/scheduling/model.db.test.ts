/**
 * The model that the simulation runs on, and the SQL, under the same commands. Each turn is one command, or a few at
 * once on connections of their own: then the rows must be as if they had come one after the other, in some order.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { BuildPlan, Result, RetryBounds } from '@impgem/pipeline';
import type {
  BuildEvent,
  Hello,
  HeldBuild,
  HeldVerdict,
  JournalEvent,
  LogFrame,
} from '@impgem/protocol';
import { ModelDatabase, type ModelItem } from '@impgem/testkit';
import * as fc from 'fast-check';
import { commitBatch } from '../journal/commit.js';
import type { IngestItem } from '../journal/ingest.js';
import type { Tx } from '../platform/index.js';
import { markConnected, markDeparted, markDraining, markSeen } from '../workers/worker-rows.js';
import type { Claimant } from './claim.js';
import { BUILD_TIMEOUT_MS, TestFarm } from './testing.js';

const LOST_AFTER_MS = 90_000;
const GRACE_MS = 45_000;
const TURN_MS = 20_000;
const STEPS = ['one', 'two'];
const LABELS = [['a', 'b'], ['a'], []];

// ── Commands, as they are drawn: numbers stand for one of what there is then ──

type Command =
  | { kind: 'claim'; worker: number; limit: number; old: boolean }
  | { kind: 'connect' | 'depart' | 'drain' | 'abandon'; worker: number; silent: number }
  | { kind: 'seen'; worker: number; silent: number }
  | {
      kind: 'resume';
      worker: number;
      /** As a connection does it; otherwise the worker stays as silent as it is. */
      greets: boolean;
      keeps: boolean[];
      behind: number;
      finished: boolean;
    }
  | { kind: 'refuse'; build: number; stale: boolean; busy: boolean }
  | { kind: 'withdraw'; worker: number; keeps: boolean[]; old: boolean }
  | { kind: 'lose'; connected: number[]; heard: number }
  | { kind: 'overdue'; heard: number }
  | { kind: 'force' }
  | { kind: 'cancel'; request: number }
  | { kind: 'batch'; records: RecordDraw[] };

interface RecordDraw {
  build: number;
  /** Sent by the worker that had the attempt, or by another. */
  foreign: boolean;
  stale: boolean;
  /** Mostly the next number of the lease. */
  skip: number;
  what: 'begin' | 'open' | 'chunk' | 'bad chunk' | 'close' | 'end';
  step: number;
  result: Result;
}

interface Submit {
  kind: 'submit';
  labels: string[];
  priority: number;
  retry: RetryBounds;
  lostAfterMs: number | undefined;
}

type Turn = Submit | { kind: 'pass'; turns: number } | { kind: 'all'; commands: Command[] };

const few = fc.nat(3);
const seldom = fc.integer({ min: 0, max: 7 }).map((n) => n === 0);
const keeps = fc.array(
  fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
  { minLength: 8, maxLength: 8 },
);
const record: fc.Arbitrary<RecordDraw> = fc.record({
  build: fc.nat(30),
  foreign: seldom,
  stale: seldom,
  skip: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.constantFrom(-1, 1)),
  what: fc.constantFrom('begin', 'open', 'chunk', 'chunk', 'bad chunk', 'close', 'end', 'end'),
  step: fc.integer({ min: 0, max: 2 }),
  result: fc.constantFrom<Result>('success', 'failure', 'failure', 'retry', 'exception'),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('claim' as const),
      worker: few,
      limit: fc.integer({ min: 1, max: 3 }),
      old: seldom,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('connect', 'connect', 'depart', 'drain', 'abandon'),
      worker: few,
      silent: few,
    }),
  },
  fc.record({ kind: fc.constant('seen' as const), worker: few, silent: few }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('resume' as const),
      worker: few,
      greets: fc.boolean(),
      keeps,
      behind: fc.constantFrom(0, 0, 0, 1),
      finished: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('refuse' as const),
      build: fc.nat(30),
      stale: seldom,
      busy: fc.boolean(),
    }),
  },
  fc.record({ kind: fc.constant('withdraw' as const), worker: few, keeps, old: seldom }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('lose' as const),
      connected: fc.array(few, { maxLength: 1 }),
      heard: fc.integer({ min: 3, max: 10 }),
    }),
  },
  fc.record({ kind: fc.constant('force' as const) }),
  fc.record({
    kind: fc.constant('overdue' as const),
    heard: fc.integer({ min: 5, max: 12 }),
  }),
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('cancel' as const), request: fc.nat(30) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('batch' as const),
      records: fc.array(record, { minLength: 1, maxLength: 6 }),
    }),
  },
);
const turn: fc.Arbitrary<Turn> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('submit' as const),
      labels: fc.constantFrom<string[]>([], [], ['a'], ['a', 'b']),
      priority: fc.constantFrom(0, 0, 1),
      retry: fc.record({ infrastructure: fc.nat(2), failure: fc.nat(1) }),
      lostAfterMs: fc.constantFrom(undefined, 70_000, 150_000),
    }),
  },
  fc.record({ kind: fc.constant('pass' as const), turns: fc.integer({ min: 1, max: 5 }) }),
  {
    weight: 8,
    arbitrary: fc
      .array(command, { minLength: 1, maxLength: 1 })
      .map((commands) => ({ kind: 'all' as const, commands })),
  },
  {
    weight: 5,
    arbitrary: fc
      .array(command, { minLength: 2, maxLength: 3 })
      .map((commands) => ({ kind: 'all' as const, commands })),
  },
);

// ── Both sides ──

interface Worker {
  id: string;
  name: string;
  labels: string[];
  /** Its connections, oldest first. */
  sql: Date[];
  model: number[];
}

/** One command with its arguments: what it does to the rows, and to a model that may have been cloned. */
interface Act {
  said: string;
  /** Resolves with what it answers, with attempts as `request.epoch`. */
  sql(): Promise<unknown>;
  /** `answer` is what the SQL said, of several at once: rows that others had locked are passed over. */
  model(db: ModelDatabase, answer: unknown): unknown;
}

class Pair {
  readonly requests: { sql: number; model: number }[] = [];
  readonly workers: Worker[] = [];
  #now = 1_000_000_000_000;
  model = new ModelDatabase(() => this.#now);

  private constructor(private readonly farm: TestFarm) {}

  static async open(farm: TestFarm): Promise<Pair> {
    await farm.db.query(
      'TRUNCATE build_requests, builds, workers, worker_standings, events, log_chunks CASCADE',
    );
    const pair = new Pair(farm);
    for (const labels of LABELS) {
      const id = randomUUID();
      const name = `w${pair.workers.length}`;
      await farm.db.query(`INSERT INTO workers (id, name, secret_hash) VALUES ($1, $2, '')`, [
        id,
        name,
      ]);
      pair.workers.push({ id, name, labels, sql: [], model: [] });
      await pair.together([pair.#connect(pair.worker(pair.workers.length - 1))]);
    }
    return pair;
  }

  worker(n: number): Worker {
    return this.workers[n % this.workers.length] as Worker;
  }

  async turn(turn: Turn): Promise<void> {
    if (turn.kind === 'submit') return this.#submit(turn);
    if (turn.kind === 'pass') return this.#pass(turn.turns * TURN_MS);
    const sqlIds = await this.#sqlIds();
    await this.together(turn.commands.map((one) => this.#act(one, sqlIds)));
  }

  /** At once on the one side; on the other in the order that explains it. */
  async together(acts: readonly Act[]): Promise<void> {
    const answers = await Promise.all(acts.map((act) => act.sql()));
    const rows = await this.#rows();
    const tried: unknown[] = [];
    for (const order of orders(acts.map((_, index) => index))) {
      const model = this.model.clone();
      const said: unknown[] = [];
      for (const at of order)
        said[at] = acts[at]?.model(model, acts.length > 1 ? answers[at] : undefined);
      const outcome = { answers: said, rows: rowsOf(model) };
      if (same(outcome, { answers, rows })) {
        this.model = model;
        for (const worker of this.workers)
          worker.model = worker.sql.map((_, at) => worker.model[at] ?? this.#fence(worker, at));
        return;
      }
      tried.push(outcome);
    }
    expect({ acts: acts.map(({ said }) => said), answers, rows }).toEqual({
      acts: acts.map(({ said }) => said),
      ...(tried[0] as object),
    });
    throw new Error('rows that only the comparison above tells apart');
  }

  /** Of two connections at once only the later one's is known, and only that one counts. */
  #fence(worker: Worker, at: number): number {
    const latest = at === worker.sql.length - 1;
    return latest ? (this.model.workers.get(worker.id)?.connectedAt ?? 0) : -1;
  }

  // ── Turns alone ──

  async #submit({ labels, priority, retry, lostAfterMs }: Submit): Promise<void> {
    const about = { labels, retry, lostAfterMs };
    const builder = `b${labels.length}`;
    const sql = await this.farm.submit({ ...about, builder, priority, steps: STEPS });
    const rank = this.requests.length - priority * 600_000;
    const steps = STEPS.map((name) => ({ name, kind: 'run' }));
    const plan = { steps, timeoutMs: BUILD_TIMEOUT_MS } as unknown as BuildPlan;
    this.requests.push({ sql, model: this.model.submit({ ...about, plan, rank }) });
  }

  async #pass(ms: number): Promise<void> {
    this.#now += ms;
    const back = `$1::float8 * interval '1 millisecond'`;
    await this.farm.db.query(`UPDATE workers SET last_seen_at = last_seen_at - ${back}`, [ms]);
    await this.farm.db.query(
      `UPDATE leases SET granted_at = granted_at - ${back}, lost_at = lost_at - ${back},
         cancel = jsonb_set(cancel, '{deadline}', to_jsonb((cancel->>'deadline')::timestamptz - ${back}))`,
      [ms],
    );
    await this.farm.pass(ms);
  }

  // ── Commands ──

  #act(command: Command, sqlIds: ReadonlyMap<string, number>): Act {
    switch (command.kind) {
      case 'connect':
        return this.#connect(this.worker(command.worker));
      case 'depart':
      case 'drain':
      case 'abandon':
      case 'seen':
        return this.#ofWorker(command.kind, this.worker(command.worker), command.silent * TURN_MS);
      case 'claim':
        return this.#claim(this.worker(command.worker), command.limit, command.old);
      case 'resume':
        return this.#resume(command, sqlIds);
      case 'withdraw':
        return this.#withdraw(command, sqlIds);
      case 'refuse':
        return this.#refuse(command, sqlIds);
      case 'lose':
        return this.#lose(
          command.connected.map((n) => this.worker(n).id),
          command.heard * TURN_MS,
        );
      case 'force':
        return {
          said: 'force',
          sql: () =>
            this.farm.db.transaction(async (tx) =>
              this.#keysOf(await this.farm.leases.forceCancelled(tx)),
            ),
          model: (db, answer) => keysIn(db.forceCancelled(buildsOf(db, answer))),
        };
      case 'overdue':
        return this.#overdue(command.heard * TURN_MS);
      case 'cancel':
        return this.#cancel(command.request);
      case 'batch':
        return this.#batch(command.records, sqlIds);
    }
  }

  #connect(worker: Worker): Act {
    return {
      said: `connect ${worker.name}`,
      sql: () => this.farm.db.transaction((tx) => this.#markConnected(tx, worker)),
      model: (db) => db.markConnected(worker.id).elsewhere,
    };
  }

  async #markConnected(tx: Tx, worker: Worker): Promise<boolean | undefined> {
    const { id, name, labels } = worker;
    const hello = { executor: 'scripted', version: '0', platform: {}, slots: 9 } as Hello;
    const identity = { id, name, secretHash: '', allowedLabels: null };
    const row = await markConnected(tx, identity, hello, labels);
    if (row) worker.sql.push(row.connectedAt);
    worker.sql.sort((a, b) => a.getTime() - b.getTime());
    return row?.elsewhere;
  }

  #ofWorker(kind: 'depart' | 'drain' | 'abandon' | 'seen', worker: Worker, silentMs: number): Act {
    const { db, leases, events } = this.farm;
    const { id, name } = worker;
    const connectedAt = worker.sql.at(-1) as Date;
    const fence = worker.model.at(-1) as number;
    const reason = { code: 'revoked', message: 'revoked' };
    const sql = {
      depart: () => {
        const gone = [{ id, name, connectedAt, heardAt: performance.now() - silentMs }];
        return db.transaction(async (tx) => (await markDeparted(tx, gone)).length);
      },
      drain: () => db.transaction((tx) => markDraining(tx, id, connectedAt)),
      abandon: () =>
        db.transaction(async (tx) => events.append(tx, await leases.abandon(tx, id, reason))),
      seen: () => db.transaction((tx) => markSeen(tx, [{ id, silentMs }])),
    };
    const model = {
      depart: (farm: ModelDatabase) =>
        farm.markDeparted([{ id, connectedAt: fence, silentMs }]).length,
      drain: (farm: ModelDatabase) => farm.markDraining(id, fence),
      abandon: (farm: ModelDatabase) => farm.abandon(id, reason),
      seen: (farm: ModelDatabase) => farm.markSeen([{ id, silentMs }]),
    };
    return { said: `${kind} ${name} ${silentMs}`, sql: sql[kind], model: model[kind] };
  }

  #claimant(worker: Worker, old: boolean): { sql: Claimant; fence: number } {
    const { id, name, labels } = worker;
    const at = old ? 0 : worker.sql.length - 1;
    const connectedAt = worker.sql[at] as Date;
    return { sql: { id, name, labels, connectedAt }, fence: worker.model[at] as number };
  }

  #claim(worker: Worker, limit: number, old: boolean): Act {
    const { sql, fence } = this.#claimant(worker, old);
    return {
      said: `claim ${worker.name} ${limit}${old ? ' over its first connection' : ''}`,
      sql: async () => {
        const got = await this.farm.claim(sql, limit);
        const keys = await this.#keys();
        return got.map(({ build }) => keys.get(build)).sort();
      },
      model: (db, answer) => {
        const { id, labels } = worker;
        const only = answer && new Set((answer as string[]).map((key) => this.#requestOf(key)));
        const claimant = { id, labels, connectedAt: fence };
        const got = db.claim(claimant, limit, only as Set<number> | undefined);
        return got.map(({ build }) => keyIn(db, build)).sort();
      },
    };
  }

  #resume(
    { worker: n, greets, keeps, behind, finished }: Extract<Command, { kind: 'resume' }>,
    sqlIds: ReadonlyMap<string, number>,
  ): Act {
    const worker = this.worker(n);
    // What it holds is what it was once given; some of it was lost, or ended meanwhile.
    const held = [...this.model.builds.values()]
      .filter((build) => build.worker === worker.id)
      .slice(-8)
      .filter((_, at) => keeps[at])
      .map((build) => ({
        build: build.id,
        epoch: build.epoch,
        seq: Math.max(0, (this.model.committedSeq({ ...build, build: build.id }) ?? 0) - behind),
        finished,
      }));
    const here = held.map((one) => ({ ...one, build: sqlIds.get(this.#key(one.build)) ?? 0 }));
    return {
      said: `${greets ? 'greet' : 'resume'} ${worker.name} ${JSON.stringify(held)}`,
      sql: () =>
        this.farm.db.transaction(async (tx) => {
          if (greets) await this.#markConnected(tx, worker);
          const { verdicts, events } = await this.farm.leases.resume(
            tx,
            worker,
            here as HeldBuild[],
          );
          await this.farm.events.append(tx, events);
          return verdictsOf(verdicts);
        }),
      model: (db) => {
        if (greets) db.markConnected(worker.id);
        return verdictsOf(db.resume(worker.id, held as HeldBuild[]));
      },
    };
  }

  #withdraw(
    { worker: n, keeps, old }: Extract<Command, { kind: 'withdraw' }>,
    sqlIds: ReadonlyMap<string, number>,
  ): Act {
    const worker = this.worker(n);
    const { sql, fence } = this.#claimant(worker, old);
    const held = this.model
      .liveLeases()
      .filter((lease) => lease.worker === worker.id)
      .filter((_, at) => keeps[at % keeps.length]);
    const here = held.map(({ build, epoch }) => ({
      build: sqlIds.get(this.#key(build)) ?? 0,
      epoch,
    }));
    return {
      said: `withdraw ${worker.name} but ${keysIn(held).join()}`,
      sql: () => this.farm.db.transaction((tx) => this.farm.leases.withdraw(tx, sql, here)),
      model: (db) => db.withdraw({ ...worker, connectedAt: fence }, held),
    };
  }

  #refuse(
    { build: n, stale, busy }: Extract<Command, { kind: 'refuse' }>,
    sqlIds: ReadonlyMap<string, number>,
  ): Act {
    const build = pick([...this.model.builds.values()], n);
    const epoch = (build?.epoch ?? 1) + (stale ? 1 : 0);
    const worker = build?.worker ?? randomUUID();
    const here = { build: build ? (sqlIds.get(this.#key(build.id)) ?? 0) : 0, epoch };
    const reason = busy
      ? { code: 'worker-busy', message: 'busy' }
      : { code: 'policy', message: 'not here' };
    return {
      said: `refuse ${build ? this.#key(build.id) : 'nothing'}${stale ? ' of a later epoch' : ''}`,
      sql: () =>
        this.farm.db.transaction((tx) => this.farm.leases.refuse(tx, worker, here, reason)),
      model: (db) => db.refuse(worker, { build: build?.id ?? 0, epoch }, reason),
    };
  }

  #lose(connected: string[], heardMs: number): Act {
    return {
      said: `lose all but ${connected.join()} after ${heardMs}`,
      sql: () =>
        this.farm.db.transaction(async (tx) =>
          this.#keysOf(await this.farm.leases.lose(tx, connected, heardMs, LOST_AFTER_MS)),
        ),
      model: (db, answer) =>
        keysIn(db.lose(connected, heardMs, LOST_AFTER_MS, buildsOf(db, answer))),
    };
  }

  #overdue(heardMs: number): Act {
    return {
      said: `end what is overdue after ${heardMs}`,
      sql: () =>
        this.farm.db.transaction(async (tx) =>
          this.#keysOf(await this.farm.leases.endOverdue(tx, heardMs, GRACE_MS, LOST_AFTER_MS)),
        ),
      model: (db, answer) =>
        keysIn(db.endOverdue(heardMs, GRACE_MS, LOST_AFTER_MS, buildsOf(db, answer))),
    };
  }

  #cancel(n: number): Act {
    const request = pick(this.requests, n) ?? { sql: 0, model: 0 };
    const reason = { code: 'cancelled', message: 'no need' };
    return {
      said: `cancel ${request.model}`,
      sql: () =>
        this.farm.db.transaction((tx) =>
          this.farm.queue.cancelRequest(tx, request.sql, 'no need', 'token:test'),
        ),
      model: (db) => db.cancelRequest(request.model, reason),
    };
  }

  #batch(draws: readonly RecordDraw[], sqlIds: ReadonlyMap<string, number>): Act {
    const items: { sql: IngestItem; model: ModelItem }[] = [];
    const next = new Map<number, number>();
    const ends = new Map<string, number>();
    for (const draw of draws) {
      const build = pick([...this.model.builds.values()], draw.build);
      if (!build) continue;
      const lease = this.model.leases.get(build.request);
      const expected =
        next.get(build.id) ?? (lease?.build === build.id ? lease.seq : build.epoch) + 1;
      const seq = Math.max(1, expected + draw.skip);
      if (draw.skip === 0) next.set(build.id, seq + 1);
      const at = `${build.id} ${draw.step}`;
      const end = ends.get(at) ?? build.steps[draw.step]?.logBytes ?? 0;
      if (draw.what === 'chunk') ends.set(at, end + 5);
      const epoch = build.epoch + (draw.stale ? 1 : 0);
      const record = recordOf(draw, { build: build.id, epoch, seq }, end);
      const workerId = draw.foreign ? randomUUID() : build.worker;
      items.push({
        model: { worker: workerId, record },
        sql: {
          workerId,
          record: { ...record, build: sqlIds.get(this.#key(build.id)) ?? 0 },
          checked: 'kind' in record ? { newlines: 0 } : undefined,
        },
      });
    }
    return {
      said: `batch ${JSON.stringify(items.map(({ model }) => model.record))}`,
      sql: () =>
        this.farm.db.transaction(async (tx) => {
          const all = items.map(({ sql }) => sql);
          const outcomes = await commitBatch(tx, this.farm.events, all);
          return outcomesOf(
            outcomes.map(({ item, outcome }) => ({ index: all.indexOf(item), outcome })),
          );
        }),
      model: (db) => outcomesOf(db.commitBatch(items.map(({ model }) => model))),
    };
  }

  // ── What both call the same ──

  #key(build: number): string {
    return keyIn(this.model, build) ?? 'none';
  }

  #requestOf(key: string): number {
    return Number(key.split('.')[0]);
  }

  /** Attempts of the rows as `request.epoch`. */
  #keysOf(rows: readonly { request: number; epoch: number }[]): string[] {
    const numbers = new Map(this.requests.map(({ sql, model }) => [sql, model]));
    return keysIn(
      rows.map(({ request, epoch }) => ({ request: numbers.get(request) ?? 0, epoch })),
    );
  }

  /** `request.epoch` by the build's id in the rows, requests as the model numbers them. */
  async #keys(): Promise<Map<number, string>> {
    const numbers = new Map(this.requests.map(({ sql, model }) => [sql, model]));
    const rows = await this.farm.db.query<{ id: number; request_id: number; epoch: number }>(
      'SELECT id, request_id, epoch FROM builds',
    );
    return new Map(
      rows.map(({ id, request_id, epoch }) => [id, `${numbers.get(request_id)}.${epoch}`]),
    );
  }

  async #sqlIds(): Promise<Map<string, number>> {
    return new Map([...(await this.#keys())].map(([id, key]) => [key, id]));
  }

  async #rows(): Promise<unknown> {
    const { db } = this.farm;
    const numbers = new Map(this.requests.map(({ sql, model }) => [sql, model]));
    const [requests, builds, steps, chunks, leases, workers, heldBack, standings] =
      await Promise.all(ROWS.map((sql) => db.query<Record<string, unknown>>(sql)));
    const number = (row: Record<string, unknown>) => {
      const { request, ...rest } = row;
      return { key: `${numbers.get(request as number)}`, ...rest };
    };
    const attempt = (row: Record<string, unknown>) => {
      const { request, epoch, ...rest } = row;
      return { key: `${numbers.get(request as number)}.${String(epoch)}`, ...rest };
    };
    return {
      requests: (requests ?? []).map(number).sort(byKey),
      builds: (builds ?? []).map(attempt).sort(byKey),
      steps: (steps ?? []).map(attempt).sort(byKey),
      chunks: (chunks ?? []).map(attempt).sort(byKey),
      leases: (leases ?? []).map(attempt).sort(byKey),
      heldBack: (heldBack ?? []).map(number).sort(byKey),
      standings: standings ?? [],
      workers: (workers ?? []).toSorted((a, b) => String(a['id']).localeCompare(String(b['id']))),
    };
  }
}

const ROWS = [
  `SELECT id AS request, state, result, epoch AS epochs, attempts, failures, refusals FROM build_requests`,
  `SELECT request_id AS request, epoch, attempt, worker_id AS worker, state, result, reason->>'code' AS reason
   FROM builds`,
  `SELECT b.request_id AS request, b.epoch, s.index, s.state, s.result, s.reason->>'code' AS reason,
          s.log_bytes AS bytes, s.log_finished AS finished
   FROM steps s JOIN builds b ON b.id = s.build_id ORDER BY s.index`,
  `SELECT b.request_id AS request, b.epoch, c.step, c.byte_offset AS offset, c.length
   FROM log_chunks c JOIN builds b ON b.id = c.build_id ORDER BY c.step, c.byte_offset`,
  `SELECT request_id AS request, epoch, worker_id AS worker, seq, cancel IS NOT NULL AS cancel,
          lost_at IS NOT NULL AS lost FROM leases`,
  `SELECT id, disconnected_at IS NULL AS connected, draining FROM workers`,
  `SELECT r.id AS request, each.k AS worker, (each.v->>'times')::int AS times
   FROM build_requests r CROSS JOIN LATERAL jsonb_each(r.held_back) AS each(k, v) WHERE r.state <> 'finished'
   ORDER BY each.k COLLATE "C"`,
  `SELECT worker_id::text AS worker, strikes FROM worker_standings ORDER BY worker_id::text COLLATE "C"`,
];

const reasonOf = (row: { reason: { code: string } | null }) => row.reason?.code ?? null;

const verdictsOf = (verdicts: readonly HeldVerdict[]) =>
  verdicts.map(({ verdict, seq, cancel }) => ({ verdict, seq, cancel }));

const outcomesOf = (
  outcomes: readonly { index: number; outcome: { type: string; seq?: number } }[],
) => outcomes.map(({ index, outcome: { type, seq } }) => `${index} ${type} ${seq ?? ''}`).sort();

/** The same of the model. */
function rowsOf(db: ModelDatabase): unknown {
  const builds = [...db.builds.values()].map((build) => ({ ...build, key: attemptKey(build) }));
  return {
    requests: [...db.requests.values()]
      .map(({ id, state, result, epoch, attempts, failures, refusals }) => ({
        key: `${id}`,
        state,
        result,
        epochs: epoch,
        attempts,
        failures,
        refusals,
      }))
      .sort(byKey),
    builds: builds
      .map((build) => {
        const { key, attempt, worker, state, result } = build;
        return { key, attempt, worker, state, result, reason: reasonOf(build) };
      })
      .sort(byKey),
    steps: builds
      .flatMap(({ key, steps }) =>
        steps.map((step, index) => {
          const { state, result, logBytes: bytes, logFinished: finished } = step;
          return { key, index, state, result, reason: reasonOf(step), bytes, finished };
        }),
      )
      .sort(byKey),
    chunks: builds
      .flatMap(({ key, steps }) =>
        steps.flatMap(({ chunks }, step) => {
          let offset = 0;
          return chunks.map(({ payload: { length } }) => {
            offset += length;
            return { key, step, offset: offset - length, length };
          });
        }),
      )
      .sort(byKey),
    leases: [...db.leases.values()]
      .map((lease) => {
        const { worker, seq } = lease;
        const [cancel, lost] = [lease.cancel !== null, lease.lostAt !== null];
        return { key: attemptKey(lease), worker, seq, cancel, lost };
      })
      .sort(byKey),
    heldBack: [...db.requests.values()]
      .flatMap(({ id, state, heldBack }) =>
        [...heldBack].flatMap(([worker, { times }]) =>
          state === 'finished' ? [] : [{ key: `${id}`, worker, times }],
        ),
      )
      .sort((a, b) => byKey(a, b) || byKey({ key: a.worker }, { key: b.worker })),
    standings: [...db.standings]
      .map(([worker, { strikes }]) => ({ worker, strikes }))
      .sort((a, b) => byKey({ key: a.worker }, { key: b.worker })),
    workers: [...db.workers]
      .map(([id, { disconnectedAt, draining }]) => {
        const connected = disconnectedAt === null;
        return { id, connected, draining };
      })
      .toSorted((a, b) => a.id.localeCompare(b.id)),
  };
}

const attemptKey = ({ request, epoch }: { request: number; epoch: number }) =>
  `${request}.${epoch}`;
const byKey = (a: { key: string }, b: { key: string }) =>
  a.key < b.key ? -1 : Number(a.key > b.key);
const keyIn = (db: ModelDatabase, build: number) => {
  const row = db.builds.get(build);
  return row && attemptKey(row);
};
const keysIn = (attempts: readonly { request: number; epoch: number }[]) =>
  attempts.map(attemptKey).sort();

/** The builds that an answer tells of; undefined when there is no answer to follow. */
function buildsOf(db: ModelDatabase, answer: unknown): Set<number> | undefined {
  if (answer === undefined) return undefined;
  const keys = new Set(answer as string[]);
  const builds = [...db.builds.values()].filter((build) => keys.has(attemptKey(build)));
  return new Set(builds.map(({ id }) => id));
}

function recordOf(
  { what, step, result }: RecordDraw,
  ref: { build: number; epoch: number; seq: number },
  end: number,
): JournalEvent | LogFrame {
  if (what === 'chunk' || what === 'bad chunk') {
    const offset = what === 'chunk' ? end : end + 1;
    const about = { ...ref, step, stream: 'stdout' as const, offset, length: 5 };
    return { kind: 'log', ...about, crc32: 0, atMs: 0, payload: Buffer.from('12345') };
  }
  const reason =
    result === 'exception' ? { reason: { code: 'engine-unavailable', message: 'gone' } } : {};
  const events = {
    begin: { kind: 'build.started' },
    open: { kind: 'step.started', step },
    close: { kind: 'step.finished', step, result, ...reason, log: { bytes: end, sha256: {} } },
    end: { kind: 'build.finished', result, ...reason },
  };
  return { type: 'event', ...ref, atMs: 0, event: events[what] as BuildEvent };
}

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

function pick<T>(items: readonly T[], n: number): T | undefined {
  return items[n % Math.max(1, items.length)];
}

function orders(items: readonly number[]): number[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((first) =>
    orders(items.filter((item) => item !== first)).map((rest) => [first, ...rest]),
  );
}

let farm: TestFarm;
beforeAll(async () => {
  farm = await TestFarm.open();
});
afterAll(async () => farm?.close());

describe('queue, leases and journal', () => {
  it('do what the model of the simulation does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(turn, { minLength: 30, maxLength: 60 }), async (turns) => {
        const pair = await Pair.open(farm);
        for (const turn of turns) await pair.turn(turn);
      }),
      // As many as there is time for; a failure is worth more as it is than after minutes of shrinking.
      { numRuns: 200, interruptAfterTimeLimit: 6_000, endOnFailure: true },
    );
  });
});
