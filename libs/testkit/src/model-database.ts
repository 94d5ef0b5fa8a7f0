/**
 * A model of what the master keeps in Postgres, as far as queue, leases and journals go: the rows, and the operations
 * of `apps/master/src/{scheduling,journal,workers}` on them, under the same names. Each call is one transaction, and
 * they happen one after the other. The simulation runs on it; a model-based test holds it and the SQL against each
 * other.
 */
import {
  decideClosing,
  holds,
  keyOf,
  QUARANTINE_STRIKES,
  REASONS,
  type AttemptEnd,
  type AttemptRef,
  type HeldBuild,
  type HeldVerdict,
  type Reason,
} from '@impgem/protocol';
import {
  newAttempt,
  newRequest,
  type ModelAssignment,
  type ModelBuild,
  type ModelChannel,
  type ModelClaimant,
  type ModelItem,
  type ModelLease,
  type ModelOutcome,
  type ModelRequest,
  type ModelSubmission,
  type ModelWatch,
  type ModelWorker,
} from './model-rows.js';
import { holdBack, judge, type ModelMark, type ModelStanding } from './model-standings.js';

const LOST: Reason = { code: 'worker-lost', message: 'the worker went away' };
const OVERDUE: Reason = { code: 'build-overdue', message: 'the worker did not end it' };
const CANCEL_DEADLINE_MS = 30_000;
const ELSEWHERE_MS = 5 * 60_000;

type Ended = Pick<AttemptEnd, 'result'> &
  Partial<Pick<AttemptEnd, 'reason' | 'counted' | 'lost' | 'refusals'>>;

export class ModelDatabase {
  readonly requests = new Map<number, ModelRequest>();
  readonly builds = new Map<number, ModelBuild>();
  /** By request: at most one each. */
  readonly leases = new Map<number, ModelLease>();
  readonly workers = new Map<string, ModelWorker>();
  readonly standings = new Map<string, ModelStanding>();
  readonly #notified = new Set<ModelChannel>();
  readonly #marks: ModelMark[] = [];

  constructor(
    /** The server's clock, milliseconds. */
    private readonly clock: () => number,
    private readonly watch?: ModelWatch,
  ) {}

  /** Another one of the same rows, without the watch. */
  clone(): ModelDatabase {
    const copy = new ModelDatabase(this.clock);
    for (const table of ['requests', 'builds', 'leases', 'workers', 'standings'] as const)
      for (const [key, row] of this[table])
        (copy[table] as Map<unknown, unknown>).set(key, structuredClone(row));
    return copy;
  }

  /** The channels that the last transaction notifies. */
  takeNotified(): ModelChannel[] {
    const channels = [...this.#notified];
    this.#notified.clear();
    return channels;
  }

  committedSeq(ref: AttemptRef): number | undefined {
    return this.#leaseOf(ref)?.seq;
  }

  // ── Queue ──

  submit(submission: ModelSubmission): number {
    const id = this.requests.size + 1;
    this.requests.set(id, newRequest(id, submission));
    this.#notified.add('queue');
    return id;
  }

  cancelRequest(
    id: number,
    reason: Reason,
  ): 'cancelled' | 'cancelling' | 'already-finished' | 'not-found' {
    const request = this.requests.get(id);
    if (!request) return 'not-found';
    if (request.state === 'pending') {
      this.#finishRequest(request, 'cancelled');
      this.leases.delete(id);
      return 'cancelled';
    }
    const lease = this.leases.get(id);
    if (!lease || lease.lostAt !== null) return 'already-finished';
    if (lease.cancel) return 'cancelling';
    lease.cancel = { reason, deadline: this.clock() + CANCEL_DEADLINE_MS };
    this.#build(lease.build).state = 'cancelling';
    this.#notified.add('lease');
    return 'cancelling';
  }

  // ── Workers ──

  markConnected(worker: string): { connectedAt: number; elsewhere: boolean } {
    const now = this.clock();
    const before = this.workers.get(worker);
    const connectedAt = Math.max(Math.floor(now), (before?.connectedAt ?? 0) + 1);
    const elsewhere =
      before !== undefined &&
      before.disconnectedAt === null &&
      before.lastSeenAt > now - ELSEWHERE_MS;
    const row = { connectedAt, disconnectedAt: null, lastSeenAt: now, draining: false };
    this.workers.set(worker, row);
    if (elsewhere) this.#notified.add('access');
    return { connectedAt, elsewhere };
  }

  markDeparted(gone: readonly { id: string; connectedAt: number; silentMs: number }[]): string[] {
    return gone.flatMap(({ id, connectedAt, silentMs }) => {
      const row = this.workers.get(id);
      if (row?.connectedAt !== connectedAt || row.disconnectedAt !== null) return [];
      row.disconnectedAt = this.clock();
      row.draining = false;
      row.lastSeenAt = Math.max(row.lastSeenAt, this.clock() - silentMs);
      return [id];
    });
  }

  markSeen(seen: readonly { id: string; silentMs: number }[]): void {
    for (const { id, silentMs } of seen) {
      const row = this.workers.get(id);
      if (row) row.lastSeenAt = Math.max(row.lastSeenAt, this.clock() - silentMs);
    }
  }

  markDraining(id: string, connectedAt: number): void {
    const row = this.workers.get(id);
    if (row?.connectedAt === connectedAt) row.draining = true;
  }

  // ── Leases ──

  hasPending(labels: readonly string[]): boolean {
    return this.pending(labels).length > 0;
  }

  /** Waiting requests that fit, best first. */
  pending(labels: readonly string[]): ModelRequest[] {
    return [...this.requests.values()]
      .filter(
        (one) => one.state === 'pending' && one.labels.every((label) => labels.includes(label)),
      )
      .sort((a, b) => a.rank - b.rank || a.id - b.id);
  }

  /** `only` are the requests that are not locked by somebody else; all when absent. */
  claim(worker: ModelClaimant, limit: number, only?: ReadonlySet<number>): ModelAssignment[] {
    if (!this.#isCurrent(worker)) return [];
    const now = this.clock();
    const { strikes = 0, until = 0 } = this.standings.get(worker.id) ?? {};
    const trial = strikes >= QUARANTINE_STRIKES;
    const busy = this.liveLeases().some((lease) => lease.worker === worker.id);
    if (until > now || (trial && busy)) return [];
    const picked = this.pending(worker.labels)
      .filter(({ id, heldBack }) => {
        const held = (heldBack.get(worker.id)?.until ?? 0) > now;
        return !held && (only?.has(id) ?? true);
      })
      .slice(0, trial ? 1 : limit);
    return picked.map((request) => {
      request.state = 'claimed';
      request.epoch += 1;
      /* @flaw epoch-not-raised: if (request.epoch > 1) request.epoch -= 1; */
      const { build, lease } = newAttempt(this.builds.size + 1, request, worker.id, this.clock());
      this.builds.set(build.id, build);
      this.watch?.granted(lease);
      this.leases.set(request.id, lease);
      return { build: build.id, epoch: request.epoch, plan: request.plan };
    });
  }

  resume(worker: string, held: readonly HeldBuild[]): HeldVerdict[] {
    for (const one of held) this.#reclaim(worker, one);
    const leases = this.liveLeases().filter((lease) => lease.worker === worker);
    const byKey = new Map(leases.map((lease) => [keyOf(lease), lease]));
    const kept = new Set<ModelLease>();
    const verdicts = held.map(({ build, epoch, seq, finished }): HeldVerdict => {
      const lease = byKey.get(keyOf({ build, epoch }));
      if (lease && seq >= lease.seq) {
        kept.add(lease);
        const cancel = lease.cancel !== null;
        return { build, epoch, verdict: 'continue', seq: lease.seq, cancel };
      }
      const row = this.builds.get(build);
      const done = row?.epoch === epoch && row.worker === worker && row.state === 'finished';
      const verdict = finished && !lease && done ? 'release' : 'stop';
      return { build, epoch, verdict, seq: 0, cancel: false };
    });
    const gone = leases.filter((lease) => !kept.has(lease));
    this.#closeAll(gone, { result: 'retry', reason: LOST });
    return verdicts;
  }

  /** Whether the worker had it. */
  refuse(worker: string, ref: AttemptRef, reason: Reason): boolean {
    const lease = this.#live(ref);
    if (lease?.worker !== worker) return false;
    const known = REASONS[reason.code as keyof typeof REASONS] as { result: string } | undefined;
    const result = known?.result === 'retry' ? 'retry' : 'exception';
    const { refusals } = this.#request(lease.request);
    this.#closeAll([lease], { result, reason, counted: result !== 'retry', refusals });
    return true;
  }

  /** Gives back what was claimed for a connection that never got it. */
  withdraw(worker: ModelClaimant, held: readonly AttemptRef[]): number {
    if (!this.#isCurrent(worker)) return 0;
    const kept = new Set(held.map(({ build }) => build));
    const leases = this.liveLeases().filter(
      (lease) => lease.worker === worker.id && !kept.has(lease.build),
    );
    this.#closeAll(leases, { result: 'retry', reason: LOST, counted: false });
    return leases.length;
  }

  /** Ends all that a worker holds, since it may hold nothing any more. */
  abandon(worker: string, reason: Reason): void {
    const all = this.liveLeases().filter((lease) => lease.worker === worker);
    this.#closeAll(all, { result: 'retry', reason });
  }

  /** `heardMs` is how long the asking master has been hearing; `only` as in `claim`. */
  lose(
    connected: readonly string[],
    heardMs: number,
    lostAfterMs: number,
    only?: ReadonlySet<number>,
  ): ModelLease[] {
    const now = this.clock();
    const lost = this.liveLeases().filter(({ build, request, worker, grantedAt }) => {
      const after = this.#request(request).lostAfterMs ?? lostAfterMs;
      const seen = this.workers.get(worker)?.lastSeenAt ?? 0;
      const silent = !connected.includes(worker) && Math.max(grantedAt, seen) < now - after;
      return silent && heardMs >= after && (only?.has(build) ?? true);
    });
    for (const lease of lost) this.watch?.lost(lease);
    this.#closeAll(lost, { result: 'retry', reason: LOST, lost: true });
    return lost;
  }

  forceCancelled(only?: ReadonlySet<number>): ModelLease[] {
    const now = this.clock();
    const overdue = this.liveLeases().filter(
      ({ build, cancel }) => cancel && cancel.deadline < now && (only?.has(build) ?? true),
    );
    this.#closeAll(overdue, { result: 'cancelled' });
    if (overdue.length > 0) this.#notified.add('lease');
    return overdue;
  }

  /** `only` as in `claim`. */
  endOverdue(
    heardMs: number,
    graceMs: number,
    lostAfterMs: number,
    only?: ReadonlySet<number>,
  ): ModelLease[] {
    const now = this.clock();
    const overdue = this.liveLeases().filter(({ build, request, dueAt }) => {
      const spareMs = graceMs + (this.#request(request).lostAfterMs ?? lostAfterMs);
      return heardMs >= spareMs && dueAt < now - spareMs && (only?.has(build) ?? true);
    });
    /* @flaw overdue-kept: return []; */
    this.#closeAll(overdue, { result: 'exception', reason: OVERDUE });
    if (overdue.length > 0) this.#notified.add('lease');
    return overdue;
  }

  cancelOrders(
    workers: readonly string[],
  ): { worker: string; build: number; epoch: number; reason: Reason }[] {
    return this.liveLeases().flatMap(({ worker, build, epoch, cancel }) =>
      cancel && workers.includes(worker) ? [{ worker, build, epoch, reason: cancel.reason }] : [],
    );
  }

  /** Those of the given attempts that nobody holds any more. */
  ended(attempts: readonly AttemptRef[]): Set<number> {
    return new Set(attempts.filter((ref) => !this.#live(ref)).map(({ build }) => build));
  }

  /** Leases that somebody holds, in the order of their builds. */
  liveLeases(): ModelLease[] {
    return [...this.leases.values()]
      .filter(({ lostAt }) => lostAt === null)
      .sort((a, b) => a.build - b.build);
  }

  // ── Journal ──

  commitBatch(items: readonly ModelItem[]): { index: number; outcome: ModelOutcome }[] {
    const outcomes = new Map<string, { index: number; outcome: ModelOutcome }>();
    const spoiled = new Map<number, string>();
    const finished = new Map<number, { lease: ModelLease; end: number }>();
    for (const [index, item] of items.entries()) {
      const { build, epoch, seq } = item.record;
      const say = (outcome: ModelOutcome) =>
        outcomes.set(`${item.worker} ${build} ${epoch} ${outcome.type}`, { index, outcome });
      const over = finished.get(build);
      const lease = over?.lease ?? this.#named(build);
      const holder = lease && { ...lease, workerId: lease.worker, lost: lease.lostAt !== null };
      if (!holder || !holds(holder, item.worker, item.record)) {
        say({ type: 'taken', build, epoch });
        continue;
      }
      // What stands behind the end, or behind what is corrupt, is nothing; its sender is told all the same.
      const problem = spoiled.get(build);
      if (problem !== undefined) say({ type: 'corrupt', build, epoch, problem });
      else if (over && seq <= over.end) {
        say({ type: 'committed', build, epoch, seq: over.end });
        say({ type: 'finished', build, epoch });
      }
      if (problem !== undefined || over) continue;
      if (seq > lease.seq + 1) {
        say({ type: 'gap', build, epoch, seq: lease.seq });
        continue;
      }
      const wrong = seq === lease.seq + 1 ? this.#apply(item, lease) : undefined;
      if (wrong !== undefined) {
        spoiled.set(build, wrong);
        say({ type: 'corrupt', build, epoch, problem: wrong });
        continue;
      }
      say({ type: 'committed', build, epoch, seq: lease.seq });
      if (this.leases.get(lease.request) === lease) continue;
      finished.set(build, { lease, end: seq });
      say({ type: 'finished', build, epoch });
    }
    judge(this.standings, this.#marks.splice(0), this.clock());
    return [...outcomes.values()];
  }

  // ── Inside ──

  /** What is wrong with it, if something is; then it has no effect. */
  #apply(item: ModelItem, lease: ModelLease): string | undefined {
    const { record } = item;
    const build = this.#build(lease.build);
    const index = 'kind' in record ? record.step : 'step' in record.event ? record.event.step : 0;
    const step = build.steps[index];
    if (!step) return `build ${build.id} has no step ${index}`;
    if ('kind' in record) {
      if (step.logFinished) return `the log of step ${index} has ended`;
      if (record.offset !== step.logBytes)
        return `a chunk begins at ${record.offset}, the log of step ${index} ends at ${step.logBytes}`;
      step.logBytes += record.length;
      step.chunks.push({ stream: record.stream, payload: record.payload });
    } else {
      const { event } = record;
      if ('step' in event && step.logFinished) return `step ${index} has ended`;
      if (event.kind === 'step.finished' && event.log.bytes !== step.logBytes)
        return `the log of step ${index} has ${event.log.bytes} bytes there and ${step.logBytes} here`;
      if (event.kind === 'step.started') Object.assign(step, { state: 'running', started: true });
      if (event.kind === 'step.finished') {
        const { result, reason = step.reason } = event;
        const state = 'finished' as const;
        Object.assign(step, { state, result, reason, logFinished: true, logSealed: true });
      }
    }
    lease.seq = record.seq;
    this.watch?.applied(item, lease);
    if (!('kind' in record) && record.event.kind === 'build.finished') {
      const { result, reason } = record.event;
      this.#close(lease, { result, reason });
    }
    return undefined;
  }

  #closeAll(leases: readonly ModelLease[], how: Ended): void {
    for (const lease of leases) this.#close(lease, how);
    judge(this.standings, this.#marks.splice(0), this.clock());
  }

  #close(lease: ModelLease, how: Ended): void {
    const request = this.#request(lease.request);
    const build = this.#build(lease.build);
    const { attempts, failures, retry } = request;
    const closing = decideClosing({
      counted: true,
      ...how,
      cancel: lease.cancel?.reason,
      attempts,
      failures,
      retry,
    });
    const { result, reason } = closing;
    Object.assign(build, { state: 'finished', result, reason });
    for (const step of build.steps) {
      if (step.state === 'finished') continue;
      step.result = step.state === 'pending' ? 'skipped' : result;
      Object.assign(step, { state: 'finished', reason, logFinished: true });
    }
    request.attempts += closing.counted;
    request.failures += closing.failed;
    request.refusals += closing.refused;
    this.#marks.push({ build, mark: closing.mark });
    if (closing.requeue) {
      request.state = 'pending';
      if (closing.holdBack) holdBack(request, build.worker, this.clock());
      this.#notified.add('queue');
    } else {
      request.heldBack.clear();
      this.#finishRequest(request, result);
    }
    if (closing.lost) lease.lostAt = this.clock();
    else this.leases.delete(request.id);
  }

  #finishRequest(request: ModelRequest, result: ModelRequest['result']): void {
    this.watch?.requestFinished(request);
    request.state = 'finished';
    request.result = result;
  }

  /** Until another worker has claimed the request, the old holder has it back with the same epoch. */
  #reclaim(worker: string, ref: AttemptRef): void {
    const lease = this.#leaseOf(ref);
    const request = lease && this.#request(lease.request);
    if (!request || lease.worker !== worker || lease.lostAt === null) return;
    if (request.state !== 'pending' || request.epoch !== lease.epoch) return;
    request.state = 'claimed';
    request.attempts -= 1;
    lease.lostAt = null;
    lease.grantedAt = this.clock();
    const build = this.#build(lease.build);
    Object.assign(build, { state: 'running', result: null, reason: null });
    for (const step of build.steps)
      if (step.reason?.code === 'worker-lost')
        Object.assign(step, {
          result: null,
          reason: null,
          logFinished: false,
          state: step.started ? 'running' : 'pending',
        });
    this.watch?.reclaimed(lease);
  }

  #isCurrent({ id, connectedAt }: ModelClaimant): boolean {
    const row = this.workers.get(id);
    return row?.connectedAt === connectedAt && row.disconnectedAt === null;
  }

  /** The lease of the attempt that has this build, also when it is lost. */
  #named(build: number): ModelLease | undefined {
    const row = this.builds.get(build);
    const lease = row && this.leases.get(row.request);
    return lease?.build === build ? lease : undefined;
  }

  #leaseOf({ build, epoch }: AttemptRef): ModelLease | undefined {
    const lease = this.#named(build);
    return lease?.epoch === epoch ? lease : undefined;
  }

  #live(ref: AttemptRef): ModelLease | undefined {
    const lease = this.#leaseOf(ref);
    return lease?.lostAt === null ? lease : undefined;
  }

  #request(id: number): ModelRequest {
    return this.requests.get(id) as ModelRequest;
  }

  #build(id: number): ModelBuild {
    return this.builds.get(id) as ModelBuild;
  }
}
