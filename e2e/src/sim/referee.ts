import { CLOSE, keyOf, type AttemptRef, type MasterMessage, type Reason } from '@impgem/protocol';
import type {
  ModelBuild,
  ModelDatabase,
  ModelItem,
  ModelLease,
  ModelRequest,
  ModelWatch,
} from '@impgem/testkit';
import { containerKey, writtenBy } from './engine.js';
import { BUILD_GRACE_MS, LOST_AFTER_MS, type Master } from './master.js';
import type { Machine } from './worker.js';
import type { World } from './world.js';

/** What a run broke. */
export class Violation extends Error {
  constructor(
    readonly invariant: string,
    message: string,
    readonly at: number,
  ) {
    super(`${invariant} at ${(at / 1000).toFixed(1)} s: ${message}`);
  }
}

/** A master looks after its leases every 5 s. */
const LOOK_MS = 10_000;

/**
 * Watches everything and knows what is true, which no part of the farm does. Throws at the first thing that must
 * not happen. Its knowledge comes from the engines, the rows and the wire, not from what the parts believe.
 */
export class Referee implements ModelWatch {
  readonly #granted = new Map<string, string>();
  readonly #ran = new Set<string>();
  /** Until when a master could not hear workers, by its name; told by the faults. */
  readonly deafUntil = new Map<string, number>();
  db: ModelDatabase | undefined;
  machines: readonly Machine[] = [];
  /** Requests whose end was asked for. */
  readonly cancelled = new Set<number>();
  /** What each build's own end said. */
  readonly #ownEnds = new Map<number, string>();

  constructor(private readonly world: World) {}

  fail(invariant: string, message: string): never {
    throw new Violation(invariant, message, this.world.now);
  }

  // ── The database ──

  granted(lease: ModelLease): void {
    const key = `${lease.request}-${lease.epoch}`;
    this.world.note(() => `db: ${keyOf(lease)} of request ${lease.request} to ${lease.worker}`);
    if (this.#granted.has(key)) this.fail('one holder', `epoch ${key} was handed out twice`);
    const holder = this.db?.leases.get(lease.request);
    if (holder && holder.lostAt === null)
      this.fail('one holder', `request ${lease.request} has a live lease already`);
    this.#granted.set(key, lease.worker);
  }

  reclaimed(lease: ModelLease): void {
    const key = `${lease.request}-${lease.epoch}`;
    this.world.note(() => `db: ${keyOf(lease)} is taken back by ${lease.worker}`);
    if (this.#granted.get(key) !== lease.worker)
      this.fail('one holder', `epoch ${key} is taken back by another worker`);
  }

  applied({ worker, record }: ModelItem, lease: ModelLease): void {
    const { build, epoch } = record;
    const live = lease.lostAt === null && lease.worker === worker;
    if (!live || lease.build !== build || lease.epoch !== epoch)
      this.fail(
        'stale epoch',
        `record ${record.seq} of ${keyOf(record)} from ${worker} takes effect on ${keyOf(lease)} of ${lease.worker}`,
      );
    if (!('kind' in record) && record.event.kind === 'build.finished')
      this.#ownEnds.set(build, record.event.result);
  }

  lost(lease: ModelLease): void {
    this.world.note(() => `db: ${keyOf(lease)} of ${lease.worker} is lost`);
  }

  requestFinished(request: ModelRequest): void {
    this.world.note(() => `db: request ${request.id} is finished`);
    if (request.state === 'finished')
      this.fail('one result', `request ${request.id} is finished twice`);
  }

  // ── Masters ──

  losesLeases(master: Master, lost: readonly ModelLease[]): void {
    this.#heardFor(master, lost, 'gave up', 0);
  }

  endsOverdue(master: Master, overdue: readonly ModelLease[]): void {
    this.#heardFor(master, overdue, 'ended', BUILD_GRACE_MS);
  }

  /** Only a master that could hear for as long as a worker may be silent, and longer by so much, ends what it has. */
  #heardFor(master: Master, leases: readonly ModelLease[], did: string, moreMs: number): void {
    const deafUntil = Math.max(
      master.startedAt,
      this.deafUntil.get(master.process.name) ?? 0,
      master.server.troubleUntil,
      master.link.troubleUntil,
    );
    const heardMs = this.world.now - deafUntil;
    for (const lease of leases) {
      const after = moreMs + (this.db?.requests.get(lease.request)?.lostAfterMs ?? LOST_AFTER_MS);
      if (heardMs < after - LOOK_MS)
        this.fail(
          'lease time',
          `${master.process.name} ${did} ${keyOf(lease)} after it could hear for ${Math.round(heardMs / 1000)} s`,
        );
    }
  }

  masterSays(message: MasterMessage): void {
    if (message.type !== 'ack') return;
    const seq = this.db?.committedSeq(message);
    const build = this.db?.builds.get(message.build);
    const over = build?.state === 'finished' || seq === undefined;
    if (!over && message.seq > seq)
      this.fail(
        'ack after commit',
        `${keyOf(message)} is acknowledged to ${message.seq}, committed to ${seq}`,
      );
  }

  masterCloses(worker: string, code: number, reason: string): void {
    if (code !== CLOSE.badMessage && code !== CLOSE.notYours) return;
    this.fail('no misuse', `a master closes ${worker}: ${code} ${reason}`);
  }

  corrupt(worker: string, problem: string): void {
    this.fail('no misuse', `a record of ${worker} is corrupt: ${problem}`);
  }

  // ── Workers ──

  workerCloses(machine: Machine, code: number, reason: string): void {
    if (code === CLOSE.badMessage)
      this.fail('no misuse', `${machine.name} closes: ${code} ${reason}`);
  }

  abandoned(machine: Machine, ref: AttemptRef, { message }: Reason): void {
    // What is not acknowledged must be there to be sent again.
    if (message.startsWith('the master is at record') || message.includes('not in the spool'))
      this.fail('nothing lost', `${machine.name} gives ${keyOf(ref)} up: ${message}`);
    const lease = this.#lease(ref);
    // The word may be old by the time it comes, but it may not be wrong.
    if (lease && lease.worker === machine.id && message.includes('not with this worker'))
      this.fail('one holder', `${machine.name} was told to give up ${keyOf(ref)}, which it holds`);
  }

  released(ref: AttemptRef): void {
    if (this.db?.builds.get(ref.build)?.state !== 'finished')
      this.fail('nothing lost', `${keyOf(ref)} is released before its end is committed`);
  }

  runs(machine: Machine, ref: AttemptRef): void {
    const key = keyOf(ref);
    if (this.#ran.has(key))
      this.fail('one holder', `${key} runs a second time, on ${machine.name}`);
    this.#ran.add(key);
  }

  exits(machine: Machine, why: string): void {
    if (why !== 'drained' && why !== 'stopped')
      this.fail('no misuse', `${machine.name} ends for good: ${why}`);
    if (why === 'drained' && machine.disk.size > 0)
      this.fail(
        'nothing lost',
        `${machine.name} is drained and leaves ${[...machine.disk.keys()].join()}`,
      );
  }

  // ── At the end ──

  /** What still waits for something; undefined when all is at rest. */
  unrest(masters: readonly Master[]): string | undefined {
    const { db } = this;
    if (!db) return 'there is no database';
    for (const request of db.requests.values())
      if (request.state !== 'finished') return `request ${request.id} is ${request.state}`;
    for (const lease of db.leases.values()) return `the lease of ${keyOf(lease)} is left`;
    for (const master of masters)
      if (!master.journal.isIdle) return `${master.process.name} has records to commit`;
    for (const machine of this.machines) {
      const why = this.#busy(machine, masters);
      if (why) return `${machine.name}: ${why}`;
    }
    return undefined;
  }

  /** The logs and results of all attempts against what the steps really did. */
  judge(): void {
    const { db } = this;
    if (!db) return;
    for (const build of db.builds.values()) this.#judgeLogs(build);
    for (const request of db.requests.values()) {
      const attempts = [...db.builds.values()].filter((build) => build.request === request.id);
      const last = attempts.at(-1);
      if (!last) {
        if (request.result !== 'cancelled' || !this.cancelled.has(request.id))
          this.fail('one result', `request ${request.id} ended ${request.result} without a build`);
        continue;
      }
      this.#judgeResult(request, last);
    }
  }

  #judgeResult(request: ModelRequest, last: ModelBuild): void {
    const wrong = (why: string) =>
      this.fail('one result', `request ${request.id} ended ${request.result}, ${why}`);
    const { result } = request;
    if (result === null || result === 'retry') return wrong('which is no end');
    if (result === 'cancelled') {
      if (!this.cancelled.has(request.id)) wrong('which nobody asked for');
      return;
    }
    const { attempts, failures, retry } = request;
    const spoiled = attempts - failures;
    if (spoiled > retry.infrastructure + 1 || failures > retry.failure + 1)
      wrong(`after ${attempts} attempts, ${failures} of them failures`);
    if (result === 'exception') {
      if (spoiled <= retry.infrastructure) wrong(`after ${spoiled} spoiled attempts`);
      return;
    }
    if (this.#ownEnds.get(last.id) !== result)
      wrong(`its last build said ${this.#ownEnds.get(last.id)}`);
    if (result === 'failure' && failures <= retry.failure && !this.cancelled.has(request.id))
      wrong(`after ${failures} failures`);
    // All of it is there: every step that ran has its whole output, and the exit that it had.
    const failed = last.steps.some((step) => step.result === 'failure');
    if ((result === 'failure') !== failed) wrong('its steps did not');
  }

  #judgeLogs(build: ModelBuild): void {
    const machine = this.machines.find(({ id }) => id === build.worker);
    if (build.state !== 'finished')
      this.fail('nothing waits', `build ${build.id} is ${build.state}`);
    for (const [index, step] of build.steps.entries()) {
      const key = containerKey({ build: build.id, epoch: build.epoch }, index);
      const container = machine?.engine.find(key);
      const written = container ? writtenBy(key, container, Infinity) : [];
      for (const stream of ['stdout', 'stderr'] as const) {
        const here = bytesOf(step.chunks, stream, ({ payload }) => payload);
        const truth = bytesOf(written, stream, ({ bytes }) => bytes);
        const whole = step.logSealed && step.result !== 'retry' && step.result !== 'skipped';
        if (!truth.subarray(0, here.length).equals(here))
          this.fail('logs exact', `${stream} of step ${key} is not what it wrote`);
        if (whole && here.length !== truth.length)
          this.fail(
            'logs exact',
            `${stream} of step ${key} has ${here.length} of ${truth.length} bytes`,
          );
      }
      const exit = container?.script.exit;
      if (step.logSealed && step.result === 'success' && (exit !== 0 || container?.killed))
        this.fail('logs exact', `step ${key} is told as success and was none`);
    }
  }

  #busy(machine: Machine, masters: readonly Master[]): string | undefined {
    const { worker } = machine;
    if (!worker?.process.alive) return 'is down';
    const { state } = worker;
    if (state.phase !== 'open') return `is ${state.phase}`;
    if (state.builds.size > 0) return `holds ${[...state.builds.keys()].join()}`;
    if (machine.disk.size > 0) return `has a spool: ${[...machine.disk.keys()].join()}`;
    if (machine.engine.list().length > 0) return `has containers: ${machine.engine.list().join()}`;
    if (state.granted !== machine.slots) return `granted ${state.granted} of ${machine.slots}`;
    const sessions = masters.flatMap((master) => master.byWorker.get(machine.id) ?? []);
    const credits = sessions.map((session) => session.credit());
    if (credits.length !== 1 || credits[0] !== machine.slots)
      return `its masters know of credit ${credits.join()}, it has ${machine.slots} slots`;
    return undefined;
  }

  #lease(ref: AttemptRef): ModelLease | undefined {
    return [...(this.db?.leases.values() ?? [])].find(
      (lease) => lease.build === ref.build && lease.epoch === ref.epoch && lease.lostAt === null,
    );
  }
}

function bytesOf<T extends { stream: string }>(
  pieces: readonly T[],
  stream: string,
  bytes: (piece: T) => Uint8Array,
): Buffer {
  return Buffer.concat(pieces.filter((piece) => piece.stream === stream).map(bytes));
}
