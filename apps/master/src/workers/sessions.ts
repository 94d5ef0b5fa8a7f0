import {
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Rate } from '@impgem/kit';
import { CLOSE, type CloseCode, type Hello, type Reason, type Refuse } from '@impgem/protocol';
import { Counter, Gauge, register } from 'prom-client';
import { Access } from '../access/index.js';
import { ArtifactReceiver } from '../artifacts/index.js';
import { Events } from '../events/index.js';
import { Journal } from '../journal/index.js';
import { Database, isOutage, logger, MasterConfig, VERSION } from '../platform/index.js';
import { Dispatcher, Leases } from '../scheduling/index.js';
import { mayClaim } from './registration.js';
import type { Greeting, ServeWorker } from './serve-worker.js';
import {
  markConnected,
  markDeparted,
  markDraining,
  markSeen,
  standings,
  vitalsOf,
  type Departure,
  type Sighting,
} from './worker-rows.js';
import type { WorkerSession } from './worker-session.js';
import { SEEN_FLUSH_MS } from './worker-state.js';

const TICK_MS = 1000;
/** A connection that does not answer a ping for so long is dead. */
const PROOF_MS = 5000;
/** Bytes of a build's journal, and of an artifact, that may be under way. */
const WINDOW_BYTES = 2 * 1024 * 1024;
const ARTIFACT_WINDOW_BYTES = 1024 * 1024;
const GIVE_BACK_RETRY_MS = 1000;

const log = logger('workers');

/**
 * The workers that are connected to this master: one session each. Who is heard is kept in memory and written
 * down rarely; what other masters must know at once (connected, gone, draining) is written when it happens.
 */
@Injectable()
export class Sessions implements ServeWorker, OnApplicationBootstrap, OnApplicationShutdown {
  /** All sockets, greeted or not. */
  readonly #all = new Set<WorkerSession>();
  /** By worker: the one connection that counts. */
  readonly #byWorker = new Map<string, WorkerSession>();
  /** Greetings of one worker, one after the other. */
  readonly #greetings = new Map<string, Promise<Greeting>>();
  #departures: Departure[] = [];
  #departing: Promise<void> | undefined;
  #rechecking = false;
  #recheckAgain = false;
  #timers: NodeJS.Timeout[] = [];
  #forget: (() => void) | undefined;
  readonly #closes = closeCounter();
  readonly #pauses = pauseCounter();

  constructor(
    readonly journal: Journal,
    readonly dispatcher: Dispatcher,
    readonly artifacts: ArtifactReceiver,
    private readonly leases: Leases,
    private readonly events: Events,
    private readonly db: Database,
    private readonly config: MasterConfig,
    access: Access,
  ) {
    this.#forget = access.onRevoked(() => this.#recheckSoon());
    connectedGauge(() => this.#all.values());
    const told = (what: 'leaked' | 'evicted' | 'spooled') => (): Told =>
      [...this.#byWorker.values()].map(({ worker, heartbeat }) => [worker.name, heartbeat?.[what]]);
    const leaked = 'Objects of the engine that a worker found left behind, and removed';
    toldMetric(Counter, LEAKED, leaked, told('leaked'));
    toldMetric(Counter, EVICTED, 'Images that a worker removed to make room', told('evicted'));
    const spooled = "Bytes in a worker's spool that are not acknowledged";
    toldMetric(Gauge, SPOOLED, spooled, told('spooled'));
  }

  onApplicationBootstrap(): void {
    const flushMs = Math.min(SEEN_FLUSH_MS, this.config.lostAfterMs / 3);
    this.#timers = [
      setInterval(() => {
        for (const session of this.#all) session.tick();
      }, TICK_MS),
      setInterval(() => this.#flushSoon(), flushMs),
    ];
  }

  /** The sockets are closed by now; what they left is written down. */
  async onApplicationShutdown(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#forget?.();
    await this.#depart();
    for (const name of METRICS) register.removeSingleMetric(name);
  }

  /** The connection of a worker, when it is to this master. */
  of(workerId: string): WorkerSession | undefined {
    return this.#byWorker.get(workerId);
  }

  add(session: WorkerSession): void {
    this.#all.add(session);
  }

  // ── ServeWorker ──

  get frameRate(): Rate {
    const { workerFramesPerSecond, workerFrameBurst } = this.config.limits;
    return { perSecond: workerFramesPerSecond, burst: workerFrameBurst };
  }

  greet(session: WorkerSession, hello: Hello): Promise<Greeting> {
    const { id } = session.worker;
    const before = this.#greetings.get(id) ?? Promise.resolve();
    // One that failed is its own connection's business.
    const greeting = before.catch(() => undefined).then(() => this.#greet(session, hello));
    this.#greetings.set(id, greeting);
    return greeting.finally(() => {
      if (this.#greetings.get(id) === greeting) this.#greetings.delete(id);
    });
  }

  giveBack(session: WorkerSession, { build, epoch, reason }: Refuse): void {
    const { id, name } = session.worker;
    log.info({ build, epoch, worker: name, reason }, 'a worker refused a build');
    const refuse = async (why: Reason): Promise<void> => {
      await this.db.transaction((tx) => this.leases.refuse(tx, id, { build, epoch }, why));
    };
    this.#insist(async () => {
      await refuse(reason).catch((error: unknown) => {
        if (isOutage(error)) throw error;
        // It is refused all the same when the words cannot be stored.
        log.error({ err: error, build, worker: name }, 'cannot store why a build was refused');
        return refuse({ code: reason.code, message: 'the reason that it gave cannot be stored' });
      });
    });
  }

  async holds(session: WorkerSession, attempt: { build: number; epoch: number }): Promise<boolean> {
    return this.leases.holds(this.db, session.worker.id, attempt);
  }

  draining(session: WorkerSession): void {
    const { id, connectedAt } = session.claimant;
    this.#insist(() => markDraining(this.db, id, connectedAt));
  }

  left(session: WorkerSession): void {
    if (!this.#all.delete(session)) return;
    const { id, name } = session.worker;
    if (this.#byWorker.get(id) !== session) return;
    this.#byWorker.delete(id);
    this.dispatcher.leave(session);
    const { connectedAt } = session.claimant;
    this.#departures.push({ id, name, connectedAt, heardAt: session.heardAt });
    this.#departSoon();
  }

  closed(code: CloseCode): void {
    this.#closes.inc({ code: String(code) });
  }

  paused(): void {
    this.#pauses.inc();
  }

  // ── Inside ──

  async #greet(session: WorkerSession, hello: Hello): Promise<Greeting> {
    if (!(await this.#fence(session, hello)))
      return shut(CLOSE.replaced, 'another connection of this worker is alive');
    const { worker } = session;
    const labels = hello.labels.filter((label) => mayClaim(label, worker.allowedLabels, hello));
    const refused = hello.labels.filter((label) => !labels.includes(label));
    if (refused.length > 0)
      log.warn(
        { worker: worker.name, refused },
        'labels that its token does not allow, or that another machine has, are left out',
      );
    try {
      const greeting = await this.#resume(session, hello, labels, refused);
      if (!greeting) return shut(CLOSE.revoked, 'the credential is not in force any more');
      log.info({ worker: worker.name, builds: hello.builds.length }, 'worker connected');
      return greeting;
    } catch (error) {
      if (isOutage(error)) return shut(CLOSE.unavailable, 'the database does not answer');
      log.error({ err: error, worker: worker.name }, 'cannot greet a worker');
      return shut(CLOSE.unavailable, 'the master met an error of its own');
    }
  }

  /** An older connection here must be proven dead, or be of the same process, which has left it. */
  async #fence(session: WorkerSession, hello: Hello): Promise<boolean> {
    const older = this.#byWorker.get(session.worker.id);
    if (!older) return true;
    if (older.process === hello.process)
      older.close(CLOSE.replaced, 'the worker has connected anew');
    else if (await older.answers(PROOF_MS)) return false;
    else older.terminate();
    await this.#depart();
    return !this.#byWorker.has(session.worker.id);
  }

  async #resume(
    session: WorkerSession,
    hello: Hello,
    labels: string[],
    refused: string[],
  ): Promise<Greeting | undefined> {
    const { worker } = session;
    const resumed = await this.db.transaction(async (tx) => {
      const row = await markConnected(tx, worker, hello, labels, refused);
      if (!row) return undefined;
      const { verdicts, events } = await this.leases.resume(tx, worker, hello.builds);
      await this.events.append(tx, [
        ...events,
        { kind: 'worker.online', worker: worker.name, data: { labels, slots: hello.slots } },
      ]);
      // A master that serves an older connection of this worker closes it.
      if (row.elsewhere) await tx.query('NOTIFY access');
      return { ...row, verdicts };
    });
    if (!resumed) return undefined;
    const { farm, connectedAt, verdicts } = resumed;
    const { id, name } = worker;
    session.admit({ id, name, labels, connectedAt });
    // It may have gone in the meantime; then this row is its departure's.
    if (session.isClosed) {
      this.#departures.push({ id, name, connectedAt, heardAt: session.heardAt });
      this.#departSoon();
    } else this.#byWorker.set(id, session);
    const { heartbeatMs, limits } = this.config;
    const welcome = {
      version: VERSION,
      worker: id,
      name,
      farm,
      heartbeatMs,
      ...(refused.length > 0 ? { refusedLabels: refused } : {}),
      limits: {
        frameBytes: limits.frameBytes,
        windowBytes: WINDOW_BYTES,
        artifactWindowBytes: ARTIFACT_WINDOW_BYTES,
        buildArtifactBytes: limits.buildArtifactBytes,
      },
    };
    return { type: 'greeted', welcome, verdicts };
  }

  /** Many reasons to look make one look, and one more for what came while it ran. */
  #recheckSoon(): void {
    this.#recheckAgain = true;
    if (this.#rechecking) return;
    this.#rechecking = true;
    this.#recheckAll().catch((err: unknown) => log.error({ err }, 'cannot look whom to cut off'));
  }

  async #recheckAll(): Promise<void> {
    try {
      while (this.#recheckAgain) {
        this.#recheckAgain = false;
        await this.#recheck();
      }
    } finally {
      this.#rechecking = false;
    }
  }

  /** Closes what was revoked, rotated, or taken over by a connection to another master. */
  async #recheck(): Promise<void> {
    const sessions = [...this.#all];
    if (sessions.length === 0) return;
    try {
      const rows = await standings(this.db, [...new Set(sessions.map(({ worker }) => worker.id))]);
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const session of sessions) {
        const row = byId.get(session.worker.id);
        if (!row || row.revoked) session.close(CLOSE.revoked, 'the worker was revoked');
        else if (row.secretHash !== session.worker.secretHash)
          session.close(CLOSE.revoked, 'the credential was replaced by a new one');
        else if (
          this.#byWorker.get(session.worker.id) === session &&
          (row.connectedAt?.getTime() ?? 0) > session.claimant.connectedAt.getTime()
        )
          session.close(CLOSE.replaced, 'the worker is connected to another master');
      }
    } catch (error) {
      // After an outage we are told to look again.
      if (!isOutage(error)) log.error({ err: error }, 'cannot look whom to cut off');
    }
  }

  #flushSoon(): void {
    this.#flush().catch((err: unknown) => log.error({ err }, 'cannot write down who was heard'));
  }

  #departSoon(): void {
    this.#depart().catch((err: unknown) => log.error({ err }, 'cannot write down who has left'));
  }

  async #flush(): Promise<void> {
    const seen = [...this.#byWorker].map(([id, session]) => ({
      id,
      silentMs: session.silentMs(),
      ...(session.heartbeat && vitalsOf(session.heartbeat)),
    }));
    try {
      await this.#markSeen(seen);
    } catch (error) {
      if (!isOutage(error)) log.error({ err: error }, 'cannot write down who was heard');
    }
    await this.#depart();
  }

  /** What one worker says of itself keeps nobody else from being written down as heard. */
  async #markSeen(seen: readonly Sighting[]): Promise<void> {
    if (seen.length === 0) return;
    try {
      await markSeen(this.db, seen);
    } catch (error) {
      if (isOutage(error)) throw error;
      const [one] = seen;
      if (one && seen.length === 1) {
        log.error({ err: error, worker: one.id }, 'cannot write down what a worker says of itself');
        if ('diskFree' in one) await this.#markSeen([{ id: one.id, silentMs: one.silentMs }]);
        return;
      }
      const middle = seen.length >> 1;
      for (const half of [seen.slice(0, middle), seen.slice(middle)]) await this.#markSeen(half);
    }
  }

  /** Writes departures down; those that cannot be now are tried again with the next flush. */
  async #depart(): Promise<void> {
    await this.#departing;
    const gone = this.#departures.splice(0);
    if (gone.length === 0) return;
    this.#departing = this.db
      .transaction(async (tx) => {
        const names = await markDeparted(tx, gone);
        const events = names.map((worker) => ({ kind: 'worker.offline' as const, worker }));
        await this.events.append(tx, events);
      })
      .catch((error: unknown) => {
        this.#departures.unshift(...gone);
        if (!isOutage(error)) log.error({ err: error }, 'cannot write down who has left');
      });
    await this.#departing;
    this.#departing = undefined;
  }

  /** Tries until the database is there again. */
  #insist(act: () => Promise<void>): void {
    this.#tryAgain(act).catch((err: unknown) => log.error({ err }, 'cannot write for a worker'));
  }

  async #tryAgain(act: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (!isOutage(error)) throw error;
        await sleep(GIVE_BACK_RETRY_MS, undefined, { ref: false });
      }
    }
  }
}

function shut(code: CloseCode, reason: string): Greeting {
  return { type: 'shut', code, reason };
}

const CONNECTED = 'impgem_workers_connected';
const PAUSED = 'impgem_worker_sockets_paused';
const CLOSES = 'impgem_worker_closes_total';
const PAUSES = 'impgem_worker_pauses_total';
const LEAKED = 'impgem_leaked_objects_total';
const EVICTED = 'impgem_images_evicted_total';
const SPOOLED = 'impgem_spooled_bytes';
const METRICS = [CONNECTED, PAUSED, CLOSES, PAUSES, LEAKED, EVICTED, SPOOLED];

function connectedGauge(sessions: () => Iterable<WorkerSession>): void {
  for (const name of [CONNECTED, PAUSED]) register.removeSingleMetric(name);
  const connected: Gauge = new Gauge({
    name: CONNECTED,
    help: 'Workers connected to this master, by condition',
    labelNames: ['condition'],
    collect(): void {
      connected.reset();
      for (const { condition, isOpen } of sessions()) if (isOpen) connected.inc({ condition });
    },
  });
  const paused: Gauge = new Gauge({
    name: PAUSED,
    help: 'Worker sockets that are not read, since too much waits to be stored',
    collect: (): void => paused.set([...sessions()].filter(({ isPaused }) => isPaused).length),
  });
}

/** A worker's name, and what its last heartbeat says. */
type Told = [worker: string, value: number | undefined][];

/** What workers count themselves, if they do; one that starts anew begins at 0, as counters may. */
function toldMetric(
  Kind: typeof Counter | typeof Gauge,
  name: string,
  help: string,
  told: () => Told,
): void {
  register.removeSingleMetric(name);
  const metric: Counter | Gauge = new Kind({
    name,
    help,
    labelNames: ['worker'],
    collect(): void {
      metric.reset();
      for (const [worker, value] of told()) if (value !== undefined) metric.inc({ worker }, value);
    },
  });
}

function closeCounter(): Counter {
  register.removeSingleMetric(CLOSES);
  return new Counter({
    name: CLOSES,
    help: 'Worker connections that this master closed, by close code',
    labelNames: ['code'],
  });
}

function pauseCounter(): Counter {
  register.removeSingleMetric(PAUSES);
  return new Counter({
    name: PAUSES,
    help: 'How often a worker socket was not read, since too much waited to be stored',
  });
}
