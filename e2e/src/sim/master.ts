import {
  CLOSE,
  LeaseClock,
  type CloseCode,
  type Hello,
  type MasterEvent,
  type Refuse,
} from '@impgem/protocol';
import type { ModelDatabase } from '@impgem/testkit';
import { DatabaseLink, type DatabaseServer } from './database-link.js';
import { Dispatcher } from './master-dispatcher.js';
import { MasterJournal } from './master-journal.js';
import { MasterSession } from './master-session.js';
import type { Connection } from './network.js';
import type { Referee } from './referee.js';
import { Process, type World } from './world.js';

const TICK_MS = 1000;
const PROOF_MS = 5000;
const SEEN_FLUSH_MS = 20_000;
const GIVE_BACK_RETRY_MS = 1000;
const LEASE_LOOK_MS = 5000;
export const LOST_AFTER_MS = 90_000;
export const BUILD_GRACE_MS = 60_000;
const CLOSE_MS = 2000;
/** Small, so that windows and pauses are met. */
const WINDOW_BYTES = 1500;

export type Greeting = Extract<MasterEvent, { type: 'greeted' | 'shut' }>;

interface Departure {
  id: string;
  connectedAt: number;
  heardAt: number;
}

/**
 * One life of a master program: what `apps/master/src/{workers,scheduling,journal}` do around the master machine,
 * with the database a call away. Names are theirs.
 */
export class Master {
  readonly process: Process;
  readonly link: DatabaseLink;
  readonly journal: MasterJournal;
  readonly dispatcher: Dispatcher;
  readonly all = new Set<MasterSession>();
  readonly byWorker = new Map<string, MasterSession>();
  readonly startedAt: number;
  stopping = false;
  readonly #greetings = new Map<string, (() => void)[]>();
  #departures: Departure[] = [];
  #departing: (() => void)[] | undefined;
  readonly #leaseClock = new LeaseClock(LEASE_LOOK_MS);
  #looking = false;

  constructor(
    readonly world: World,
    readonly server: DatabaseServer,
    readonly referee: Referee,
    name: string,
  ) {
    this.process = new Process(world, name);
    this.startedAt = world.now;
    this.link = new DatabaseLink(server, this.process);
    this.journal = new MasterJournal(this);
    this.dispatcher = new Dispatcher(this);
    this.link.listen('access', () => this.#recheck());
    this.process.every(TICK_MS, () => {
      for (const session of this.all) session.step({ type: 'tick' });
    });
    this.process.every(SEEN_FLUSH_MS, () => this.#flush());
    this.process.every(LEASE_LOOK_MS, () => this.#look());
  }

  /** A socket whose token was good. */
  accept(connection: Connection, worker: string): void {
    this.all.add(new MasterSession(this, connection, worker));
  }

  /** SIGTERM: sockets are closed with word, what is committed is told, and then it ends. */
  stop(): void {
    this.stopping = true;
    for (const session of this.all)
      session.step({ type: 'shut', code: CLOSE.restart, reason: 'stopping' });
    this.#depart(() => {});
    this.process.after(this.world.chance.between(100, CLOSE_MS), () => this.process.die());
  }

  transaction<T>(
    act: (db: ModelDatabase) => T,
    then: (value: T) => void,
    failed: () => void,
  ): void {
    this.link.run(act, then, failed);
  }

  // ── For sessions ──

  /** Greetings of one worker, one after the other. */
  greet(session: MasterSession, hello: Hello, then: (greeting: Greeting) => void): void {
    const waiting = this.#greetings.get(session.worker);
    const turn = () =>
      this.#greet(session, hello, (greeting) => {
        then(greeting);
        const line = this.#greetings.get(session.worker);
        const next = line?.shift();
        if (next) next();
        else this.#greetings.delete(session.worker);
      });
    if (waiting) waiting.push(turn);
    else {
      this.#greetings.set(session.worker, []);
      turn();
    }
  }

  giveBack({ worker }: MasterSession, { build, epoch, reason }: Refuse): void {
    this.#insist((db) => db.refuse(worker, { build, epoch }, reason));
  }

  draining({ worker, claimant }: MasterSession): void {
    if (claimant) this.#insist((db) => db.markDraining(worker, claimant.connectedAt));
  }

  left(session: MasterSession): void {
    if (!this.all.delete(session)) return;
    const { worker, claimant } = session;
    if (this.byWorker.get(worker) !== session || !claimant) return;
    this.byWorker.delete(worker);
    this.dispatcher.leave(session);
    this.#departures.push({
      id: worker,
      connectedAt: claimant.connectedAt,
      heardAt: session.state.heardAt,
    });
    this.#depart(() => {});
  }

  // ── Greeting ──

  #greet(session: MasterSession, hello: Hello, then: (greeting: Greeting) => void): void {
    this.#fence(session, hello, (free) => {
      if (!free) return then(shut(CLOSE.replaced, 'another connection of this worker is alive'));
      this.#resume(session, hello, then);
    });
  }

  /** An older connection here must be proven dead, or be of the same process, which has left it. */
  #fence(session: MasterSession, hello: Hello, then: (free: boolean) => void): void {
    const older = this.byWorker.get(session.worker);
    if (!older) return then(true);
    const gone = () => this.#depart(() => then(!this.byWorker.has(session.worker)));
    if (older.hello?.process === hello.process) {
      older.step({ type: 'shut', code: CLOSE.replaced, reason: 'the worker has connected anew' });
      return gone();
    }
    older.answers(PROOF_MS, (alive) => {
      if (alive) return then(false);
      older.terminate();
      gone();
    });
  }

  #resume(session: MasterSession, hello: Hello, then: (greeting: Greeting) => void): void {
    const { worker } = session;
    this.transaction(
      (db) => ({ ...db.markConnected(worker), verdicts: db.resume(worker, hello.builds) }),
      ({ connectedAt, verdicts }) => {
        session.claimant = { id: worker, labels: hello.labels, connectedAt };
        if (session.isClosed) {
          this.#departures.push({ id: worker, connectedAt, heardAt: session.state.heardAt });
          this.#depart(() => {});
        } else this.byWorker.set(worker, session);
        const limits = {
          frameBytes: 1 << 20,
          windowBytes: WINDOW_BYTES,
          artifactWindowBytes: 1 << 20,
        };
        const about = { version: '0.1.0', worker, name: worker, farm: 'farm', heartbeatMs: 10_000 };
        then({ type: 'greeted', welcome: { ...about, limits }, verdicts });
      },
      () => then(shut(CLOSE.unavailable, 'the database does not answer')),
    );
  }

  // ── What is written down ──

  #flush(): void {
    const seen = [...this.byWorker].map(([id, session]) => ({ id, silentMs: session.silentMs() }));
    if (seen.length === 0) return this.#depart(() => {});
    const depart = () => this.#depart(() => {});
    this.transaction((db) => db.markSeen(seen), depart, depart);
  }

  #depart(then: () => void): void {
    if (this.#departing) {
      this.#departing.push(() => this.#depart(then));
      return;
    }
    const gone = this.#departures.splice(0);
    if (gone.length === 0) return then();
    this.#departing = [];
    const settle = () => {
      const waiting = this.#departing ?? [];
      this.#departing = undefined;
      then();
      for (const next of waiting) next();
    };
    const rows = gone.map(({ id, connectedAt, heardAt }) => ({
      id,
      connectedAt,
      silentMs: this.process.now - heardAt,
    }));
    this.transaction(
      (db) => db.markDeparted(rows),
      settle,
      () => {
        this.#departures.unshift(...gone);
        settle();
      },
    );
  }

  /** Closes what was taken over by a connection to another master. */
  #recheck(): void {
    const ids = [...this.byWorker.keys()];
    if (ids.length === 0) return;
    this.transaction(
      (db) => ids.map((id) => ({ id, connectedAt: db.workers.get(id)?.connectedAt ?? 0 })),
      (rows) => {
        for (const { id, connectedAt } of rows) {
          const session = this.byWorker.get(id);
          if (session?.claimant && connectedAt > session.claimant.connectedAt)
            session.step({
              type: 'shut',
              code: CLOSE.replaced,
              reason: 'connected to another master',
            });
        }
      },
      () => {},
    );
  }

  /** Tries until the database is there again. */
  #insist(act: (db: ModelDatabase) => unknown): void {
    this.transaction(
      act,
      () => {},
      () => this.process.after(GIVE_BACK_RETRY_MS, () => this.#insist(act)),
    );
  }

  // ── Leases ──

  /** The time of a lease counts only while a master can hear. */
  #look(): void {
    if (this.#looking || this.stopping) return;
    this.#looking = true;
    const now = this.process.now;
    const heardMs = this.#leaseClock.look(now);
    const done = () => {
      this.#looking = false;
    };
    const failed = () => {
      this.#leaseClock.failed();
      done();
    };
    const lose = (db: ModelDatabase) => {
      const connected = this.dispatcher.connected();
      // The database rolls back what hung.
      if (!this.#leaseClock.answered(this.process.now - now)) return false;
      const lost = db.lose(connected, heardMs, LOST_AFTER_MS);
      if (lost.length > 0) this.referee.losesLeases(this, lost);
      return true;
    };
    const endOverdue = (db: ModelDatabase) => {
      const overdue = db.endOverdue(heardMs, BUILD_GRACE_MS, LOST_AFTER_MS);
      if (overdue.length > 0) this.referee.endsOverdue(this, overdue);
    };
    const then = (inTime: boolean) =>
      inTime ? this.transaction(endOverdue, done, failed) : failed();
    this.transaction(
      (db) => db.forceCancelled(),
      () => this.transaction(lose, then, failed),
      failed,
    );
  }
}

function shut(code: CloseCode, reason: string): Greeting {
  return { type: 'shut', code, reason };
}
