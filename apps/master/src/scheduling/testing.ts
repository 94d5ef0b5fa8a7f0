/** For tests: a farm in a database of its own. */
import { randomUUID } from 'node:crypto';
import { BuilderDefinition, type RetryBounds } from '@impgem/pipeline';
import { patient, testDatabase, type TestDatabase } from '@impgem/testkit';
import { Events } from '../events/index.js';
import { Database, MasterConfig, withConfig } from '../platform/index.js';
import { claim, type Assignment, type Claimant } from './claim.js';
import { Dispatcher } from './dispatcher.js';
import { LeaseSweep } from './lease-sweep.js';
import { Leases } from './leases.js';
import { Queue } from './queue.js';

/** Of the builds that are submitted here. */
export const BUILD_TIMEOUT_MS = 60_000;

export interface SubmitOptions {
  builder?: string;
  labels?: string[];
  workers?: string[];
  priority?: number;
  steps?: string[];
  retry?: RetryBounds;
  lostAfterMs?: number | undefined;
}

export class TestFarm {
  readonly events: Events;
  readonly leases: Leases;
  readonly queue: Queue;

  private constructor(
    readonly database: TestDatabase,
    readonly db: Database,
  ) {
    this.events = new Events(db);
    this.leases = new Leases(this.events);
    this.queue = new Queue(this.events, this.leases);
  }

  static async open(): Promise<TestFarm> {
    const database = await testDatabase();
    const farm = new TestFarm(database, new Database({ url: database.url, poolSize: 10 }));
    await farm.db.query('INSERT INTO farm (id) VALUES ($1) ON CONFLICT DO NOTHING', [randomUUID()]);
    await farm.db.query(
      `INSERT INTO farm_versions (source, sha256, applied_by, builders) VALUES ('', '', 'test', '{}')`,
    );
    return farm;
  }

  async close(): Promise<void> {
    await this.db.close();
    await this.database.drop();
  }

  dispatcher(): Dispatcher {
    return new Dispatcher(this.db, this.events, this.leases);
  }

  sweep(dispatcher: Dispatcher, lostAfterMs: number): LeaseSweep {
    const config = withConfig(new MasterConfig(), { lostAfterMs });
    return new LeaseSweep(this.db, this.leases, dispatcher, config);
  }

  /** A worker that is connected. */
  async worker(name: string, labels: string[] = []): Promise<Claimant> {
    const [row] = await this.db.query<{ id: string; connected_at: Date }>(
      `INSERT INTO workers (id, name, secret_hash, labels, connected_at, last_seen_at)
       VALUES ($1, $2, '', $3, date_trunc('milliseconds', clock_timestamp()), now())
       RETURNING id, connected_at`,
      [randomUUID(), name, labels],
    );
    if (!row) throw new Error('no worker');
    return { id: row.id, name, labels, connectedAt: row.connected_at };
  }

  /** A request; its id. */
  async submit(options: SubmitOptions = {}): Promise<number> {
    const { builder = 'hello', labels = [], workers = [], priority = 0, steps = ['one'] } = options;
    const { retry, lostAfterMs } = options;
    const definition = Object.assign(new BuilderDefinition(), {
      labels,
      workers,
      env: {},
      properties: {},
      timeoutMs: BUILD_TIMEOUT_MS,
      image: 'busybox',
      steps: steps.map((name) => ({ name, run: 'true', env: {} })),
      artifacts: [],
      ...(retry ? { retry } : {}),
      ...(lostAfterMs === undefined ? {} : { lostAfterMs }),
    });
    const [row] = await this.db.query<{ id: number }>(
      `WITH b AS (
         INSERT INTO builders AS b (name, definition, farm_version, position) VALUES ($1, $2, 1, 0)
         ON CONFLICT (name) DO UPDATE SET position = b.position RETURNING *)
       INSERT INTO builder_versions AS v SELECT id, farm_version, $2 FROM b
       ON CONFLICT (builder_id, farm_version) DO UPDATE SET definition = v.definition RETURNING builder_id AS id`,
      [builder, JSON.stringify(definition)],
    );
    const [submitted] = await this.queue.submit(this.db, [
      {
        builder: { id: row?.id ?? 0, name: builder, farmVersion: 1, definition },
        properties: {},
        priority,
        reason: null,
        submittedBy: 'token:test',
      },
    ]);
    if (!submitted) throw new Error(`the builder ${builder} has changed`);
    return submitted.id;
  }

  async claim(worker: Claimant, limit = 1): Promise<Assignment[]> {
    const { assignments } = await this.db.transaction((tx) =>
      claim(tx, this.events, worker, limit),
    );
    return assignments;
  }

  /** Time goes by, for what workers are not given yet. */
  async pass(ms: number): Promise<void> {
    await this.db.query(
      `UPDATE build_requests SET held_back = (
         SELECT jsonb_object_agg(k, v || jsonb_build_object('until', (v->>'until')::float8 - $1::float8 / 1000))
         FROM jsonb_each(held_back) AS each(k, v)) WHERE held_back IS NOT NULL`,
      [ms],
    );
    const back = `$1::float8 * interval '1 millisecond'`;
    await this.db.query(`UPDATE worker_standings SET until = until - ${back}`, [ms]);
    await this.db.query(`UPDATE builds SET created_at = created_at - ${back}`, [ms]);
    await this.db.query(`UPDATE leases SET due_at = due_at - ${back}`, [ms]);
  }

  /** The single row of a statement. */
  async row<Row extends object = Record<string, unknown>>(
    sql: string,
    ...params: unknown[]
  ): Promise<Row> {
    const [row] = await this.db.query<Row>(sql, params);
    if (!row) throw new Error(`no row: ${sql}`);
    return row;
  }

  request(id: number) {
    return this.row<{ state: string; result: string | null; attempts: number; epoch: number }>(
      'SELECT state, result, attempts, epoch FROM build_requests WHERE id = $1',
      id,
    );
  }

  build(id: number) {
    return this.row<{ state: string; result: string | null; reason: { code: string } | null }>(
      'SELECT state, result, reason FROM builds WHERE id = $1',
      id,
    );
  }

  /** Kinds of the events of a build, in order. */
  async kinds(build: number): Promise<string[]> {
    const rows = await this.db.query<{ kind: string }>(
      'SELECT kind FROM events WHERE build_id = $1 ORDER BY xid, id',
      [build],
    );
    return rows.map(({ kind }) => kind);
  }
}

/** How many sessions of this database wait for a lock. */
export async function lockWaits(db: Database): Promise<number> {
  const rows = await db.query(
    `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
  );
  return rows.length;
}

/** Waits until `look` gives something other than undefined or false; says what it last saw when it gives up. */
export async function until<T>(
  look: () => T | Promise<T>,
  timeoutMs = 10_000,
): Promise<Exclude<T, false | null | undefined>> {
  const end = performance.now() + patient(timeoutMs);
  for (;;) {
    const seen = await look();
    if (seen) return seen as Exclude<T, false | null | undefined>;
    if (performance.now() > end)
      throw new Error(`waited ${timeoutMs} ms, last saw ${String(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
