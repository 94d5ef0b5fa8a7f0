import { randomUUID } from 'node:crypto';
import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { Counter } from 'prom-client';
import { Events, formatPosition, parsePosition } from '../events/index.js';
import { Database, isOutage, logger, MasterConfig } from '../platform/index.js';
import { Partitions } from './partitions.js';
import { SealStore, type OpenLog } from './seal-store.js';

const log = logger('logs');

/** Ends of builds that are looked at together. */
const BATCH = 500;
/** From the first end to the look: more come together, and nobody waits for a sealed log. */
const GATHER_MS = 1000;
/** Of its time sealing works at most a quarter, so that builds that run have the database to themselves. */
const REST = 3;
/** How long a master that fell silent keeps others from sealing. */
const HOLD_MS = 60_000;
/** A look without any news: builds that were left for later, partitions. */
const SAFETY_MS = 60_000;
/**
 * A log that its worker did not end may still be completed: what is late counts as long as the log is not sealed.
 */
export const LATE_MS = 10 * 60_000;
/** After a failure, doubled with each. */
const RETRY_MS = 60_000;

/**
 * Seals the logs of builds that are over: their chunks go into the blob store, or into a row when they are small,
 * and their partitions away. It follows the ends of builds in the outbox, in batches and in the background, so
 * that a build pays nothing for it. One master at a time does it; should two, what they do comes out the same.
 *
 * A build is over for good when it is finished and nobody has a lease for it: until then a lost worker may come
 * back and go on.
 */
@Injectable()
export class Sealer implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #me = randomUUID();
  readonly #store: SealStore;
  #unlisten: (() => void) | undefined;
  #safety: NodeJS.Timeout | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** There is news that this look did not see, or could not read yet. */
  #again = false;
  readonly #stop = new AbortController();

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly partitions: Partitions,
    config: MasterConfig,
  ) {
    this.#store = new SealStore(db, config.dataDir);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.#store.clear();
    await this.partitions.prepare();
    this.#unlisten = await this.db.listen('events', () => this.#soon(GATHER_MS));
    this.#safety = setInterval(() => this.#soon(0), SAFETY_MS);
    this.#safety.unref();
    this.#soon(GATHER_MS);
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.#stop.abort();
    this.#unlisten?.();
    clearInterval(this.#safety);
    clearTimeout(this.#timer);
    await this.#running;
    await this.db
      .query(`UPDATE log_sealing SET held_until = '-infinity' WHERE holder = $1`, [this.#me])
      .catch(() => undefined);
  }

  /**
   * Seals what can be sealed now, once through. Resolves with false when another master does it. Rejects when the
   * database is away; what was sealed stays so.
   */
  async pass(): Promise<boolean> {
    for (let more = true; more && !this.#stop.signal.aborted;) {
      const begun = performance.now();
      const position = await this.#hold();
      if (position === undefined) return false;
      const batch = await this.events.readOn({
        after: position,
        kind: 'build.finished',
        limit: BATCH,
      });
      const ended = batch.events.flatMap(({ build }) => (build === undefined ? [] : [build]));
      const due = await this.db.query<{ build: number }>(DUE, [BATCH]);
      await this.#seal([...new Set([...ended, ...due.map(({ build }) => build)])]);
      if (batch.end !== position) await this.#advance(batch.end);
      if (batch.held) this.#again = true;
      more = !batch.exhausted;
      if (more) await this.#rest(REST * (performance.now() - begun));
    }
    return true;
  }

  /** Makes partitions for the days to come and removes those that nobody needs any more. */
  async tidy(): Promise<void> {
    await this.partitions.prepare();
    if ((await this.#hold()) === undefined) return;
    for (const build of await this.partitions.drop()) await this.#later(build, 0);
  }

  #soon(ms: number): void {
    if (this.#running) this.#again = true;
    if (this.#stop.signal.aborted || this.#timer || this.#running) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#again = false;
      this.#running = this.#run().finally(() => {
        this.#running = undefined;
        if (this.#again) this.#soon(GATHER_MS);
      });
    }, ms);
    this.#timer.unref();
  }

  async #run(): Promise<void> {
    try {
      if (await this.pass()) await this.tidy();
    } catch (error) {
      if (!isOutage(error)) log.error({ err: error }, 'cannot seal logs; tried again later');
    }
  }

  /** The position up to which is looked, if it is this master's turn. */
  async #hold(): Promise<string | undefined> {
    const [row] = await this.db.query<{ xid: string; id: string }>(HOLD, [this.#me, HOLD_MS]);
    return row && formatPosition(row);
  }

  async #advance(to: string): Promise<void> {
    const { xid, id } = parsePosition(to) ?? { xid: '0', id: '0' };
    await this.db.query(
      `UPDATE log_sealing SET xid = $2::text::xid8, id = $3::text::bigint WHERE holder = $1`,
      [this.#me, xid, id],
    );
  }

  async #seal(builds: readonly number[]): Promise<void> {
    if (builds.length === 0) return;
    const rows = await this.db.query<EndedRow>(ENDED, [builds]);
    const over: number[] = [];
    const logs: OpenLog[] = [];
    for (const { build, over: isOver, waitMs, open } of rows) {
      if (!isOver || waitMs > 0) await this.#later(build, isOver ? waitMs : RETRY_MS);
      else {
        over.push(build);
        for (const [step, bytes, lines] of open ?? []) logs.push({ build, step, bytes, lines });
      }
    }
    const failed = new Map<number, unknown>();
    const counts = await this.#store.seal(
      logs,
      (build, error) => failed.set(build, error),
      () => this.#hold(),
    );
    sealed.inc({ into: 'row' }, counts.rows);
    sealed.inc({ into: 'file' }, counts.files);
    for (const [build, error] of failed) {
      log.error({ err: error, build }, 'cannot seal the logs of a build; tried again later');
      failures.inc();
      await this.db.query(FAILED, [build, RETRY_MS, String(error)]);
    }
    const done = [...builds.filter((id) => !rows.some(({ build }) => build === id)), ...over];
    await this.db.query('DELETE FROM log_sealing_later WHERE build_id = ANY($1::bigint[])', [
      done.filter((build) => !failed.has(build)),
    ]);
  }

  async #later(build: number, ms: number): Promise<void> {
    await this.db.query(LATER, [build, ms]);
  }

  async #rest(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#stop.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

interface EndedRow {
  build: number;
  over: boolean;
  waitMs: number;
  /** Step, bytes and newlines of those that are not sealed. */
  open: [number, number, number][] | null;
}

const HOLD = `
  INSERT INTO log_sealing AS s (holder, held_until) VALUES ($1, now() + $2::float8 * interval '1 millisecond')
  ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
    WHERE s.holder = excluded.holder OR s.held_until < now()
  RETURNING xid::text AS xid, id::text AS id`;

const DUE = `
  SELECT build_id AS build FROM log_sealing_later WHERE not_before <= now() ORDER BY not_before LIMIT $1`;

const LATER = `
  INSERT INTO log_sealing_later (build_id, not_before)
  VALUES ($1, now() + $2::float8 * interval '1 millisecond')
  ON CONFLICT (build_id) DO UPDATE SET not_before = excluded.not_before`;

const FAILED = `
  INSERT INTO log_sealing_later (build_id, not_before, failures, problem)
  VALUES ($1, now() + $2::float8 * interval '1 millisecond', 1, $3)
  ON CONFLICT (build_id) DO UPDATE SET failures = log_sealing_later.failures + 1, problem = excluded.problem,
    not_before = now() + $2::float8 * power(2, least(log_sealing_later.failures, 6)) * interval '1 millisecond'`;

// A log whose worker did not say how it ends is left open for a while.
const ENDED = `
  SELECT b.id AS build,
         b.state = 'finished' AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.build_id = b.id) AS over,
         coalesce((SELECT ${LATE_MS} - extract(epoch FROM now() - b.finished_at)::float8 * 1000
          WHERE EXISTS (SELECT 1 FROM steps s WHERE s.build_id = b.id AND s.log_bytes > 0 AND s.log_sha256 IS NULL)),
          0) AS "waitMs",
         (SELECT jsonb_agg(jsonb_build_array(s.index, s.log_bytes, s.log_lines) ORDER BY s.index)
          FROM steps s WHERE s.build_id = b.id AND s.log_bytes > 0 AND NOT EXISTS (
            SELECT 1 FROM sealed_logs l WHERE l.build_id = b.id AND l.step = s.index)) AS open
  FROM unnest($1::bigint[]) AS asked(build) JOIN builds b ON b.id = asked.build`;

const sealed = new Counter({
  name: 'impgem_logs_sealed_total',
  help: 'Logs that were sealed, by where into: a row of the database, or a file of the blob store',
  labelNames: ['into'],
});
const failures = new Counter({
  name: 'impgem_log_sealing_failures_total',
  help: 'Builds whose logs could not be sealed at a try; their chunks stay where they are',
});
