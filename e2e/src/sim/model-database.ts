import type { BuildPlan, Result } from '@impgem/pipeline';
import {
  keyOf,
  REASONS,
  type AttemptRef,
  type HeldBuild,
  type HeldVerdict,
  type JournalEvent,
  type LogFrame,
  type Reason,
} from '@impgem/protocol';
import { decideClosing, type Ending } from './model-closing.js';

/**
 * What the master keeps in Postgres, as far as leases and journals go: the rows, and the same operations on them
 * as the SQL of `apps/master/src/{scheduling,journal,workers}`, under the same names. Each call is one
 * transaction, and they happen one after the other.
 */
export interface RequestRow {
  id: number;
  rank: number;
  labels: readonly string[];
  plan: BuildPlan;
  state: 'pending' | 'claimed' | 'finished';
  result: Result | null;
  epoch: number;
  attempts: number;
}

export interface StepRow {
  state: 'pending' | 'running' | 'finished';
  result: Result | null;
  reason: Reason | null;
  started: boolean;
  logBytes: number;
  logFinished: boolean;
  /** `step.finished` came with the log's length: it is complete. */
  logSealed: boolean;
  chunks: { stream: LogFrame['stream']; payload: Uint8Array }[];
}

export interface BuildRow {
  id: number;
  request: number;
  attempt: number;
  epoch: number;
  worker: string;
  state: 'running' | 'cancelling' | 'finished';
  result: Result | null;
  reason: Reason | null;
  steps: StepRow[];
}

export interface LeaseRow {
  build: number;
  request: number;
  worker: string;
  epoch: number;
  seq: number;
  cancel: { reason: Reason; deadline: number } | null;
  lostAt: number | null;
  grantedAt: number;
}

export interface WorkerRow {
  connectedAt: number;
  disconnectedAt: number | null;
  lastSeenAt: number;
  draining: boolean;
}

export interface Claimant {
  id: string;
  labels: readonly string[];
  /** The connection's fence: a claim for an older one finds nothing. */
  connectedAt: number;
}

export interface Assignment extends AttemptRef {
  plan: BuildPlan;
}

export type JournalRecord = JournalEvent | LogFrame;

export type Outcome =
  | { type: 'committed' | 'gap'; build: number; epoch: number; seq: number }
  | { type: 'finished' | 'taken'; build: number; epoch: number }
  | { type: 'corrupt'; build: number; epoch: number; problem: string };

export interface BatchItem {
  worker: string;
  record: JournalRecord;
}

export type Channel = 'queue' | 'lease' | 'access';

/** What an observer hears, within the transaction. */
export interface DatabaseWatch {
  granted(lease: LeaseRow): void;
  reclaimed(lease: LeaseRow): void;
  /** A record takes effect, under this lease. */
  applied(item: BatchItem, lease: LeaseRow): void;
  lost(lease: LeaseRow): void;
  requestFinished(request: RequestRow): void;
}

/** Mistakes that can be planted. */
export interface DatabaseFlaws {
  /** Records and ends count for whoever has the request now. */
  epochUnchecked?: boolean;
}

const CANCEL_DEADLINE_MS = 30_000;
const ELSEWHERE_MS = 5 * 60_000;

export class ModelDatabase {
  readonly requests = new Map<number, RequestRow>();
  readonly builds = new Map<number, BuildRow>();
  /** By request: at most one each. */
  readonly leases = new Map<number, LeaseRow>();
  readonly workers = new Map<string, WorkerRow>();
  readonly #notified = new Set<Channel>();

  constructor(
    /** The server's clock, milliseconds. */
    private readonly clock: () => number,
    private readonly watch: DatabaseWatch,
    private readonly flaws: DatabaseFlaws = {},
  ) {}

  /** The channels that the last transaction notifies. */
  takeNotified(): Channel[] {
    const channels = [...this.#notified];
    this.#notified.clear();
    return channels;
  }

  committedSeq(ref: AttemptRef): number | undefined {
    const lease = this.#leaseOf(ref);
    return lease?.seq;
  }

  // ── Queue ──

  submit(plan: BuildPlan, labels: readonly string[], rank: number): number {
    const id = this.requests.size + 1;
    this.requests.set(id, {
      id,
      rank,
      labels,
      plan,
      state: 'pending',
      result: null,
      epoch: 0,
      attempts: 0,
    });
    this.#notified.add('queue');
    return id;
  }

  cancelRequest(id: number, reason: Reason): void {
    const request = this.requests.get(id);
    if (!request) return;
    if (request.state === 'pending') {
      this.#finishRequest(request, 'cancelled');
      this.leases.delete(id);
      return;
    }
    const lease = this.leases.get(id);
    if (!lease || lease.lostAt !== null || lease.cancel) return;
    lease.cancel = { reason, deadline: this.clock() + CANCEL_DEADLINE_MS };
    this.#build(lease.build).state = 'cancelling';
    this.#notified.add('lease');
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

  markDeparted(gone: readonly { id: string; connectedAt: number; silentMs: number }[]): void {
    for (const { id, connectedAt, silentMs } of gone) {
      const row = this.workers.get(id);
      if (row?.connectedAt !== connectedAt || row.disconnectedAt !== null) continue;
      row.disconnectedAt = this.clock();
      row.draining = false;
      row.lastSeenAt = Math.max(row.lastSeenAt, this.clock() - silentMs);
    }
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
    return this.#pending(labels).length > 0;
  }

  claim(worker: Claimant, limit: number): Assignment[] {
    const row = this.workers.get(worker.id);
    if (!row || row.connectedAt !== worker.connectedAt || row.disconnectedAt !== null) return [];
    const picked = this.#pending(worker.labels).slice(0, limit);
    return picked.map((request) => {
      request.state = 'claimed';
      request.epoch += 1;
      const { id, epoch, plan } = request;
      const build: BuildRow = {
        id: this.builds.size + 1,
        request: id,
        attempt: request.attempts + 1,
        epoch,
        worker: worker.id,
        state: 'running',
        result: null,
        reason: null,
        steps: plan.steps.map(() => newStep()),
      };
      this.builds.set(build.id, build);
      const lease: LeaseRow = {
        build: build.id,
        request: id,
        worker: worker.id,
        epoch,
        seq: 0,
        cancel: null,
        lostAt: null,
        grantedAt: this.clock(),
      };
      this.watch.granted(lease);
      this.leases.set(id, lease);
      return { build: build.id, epoch, plan };
    });
  }

  resume(worker: string, held: readonly HeldBuild[]): HeldVerdict[] {
    for (const one of held) this.#reclaim(worker, one);
    const leases = this.#liveLeases().filter((lease) => lease.worker === worker);
    const byKey = new Map(leases.map((lease) => [keyOf(lease), lease]));
    const kept = new Set<LeaseRow>();
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
    for (const lease of leases)
      if (!kept.has(lease))
        this.#close(lease, { result: 'retry', reason: lostReason('came back') });
    return verdicts;
  }

  /** Whether the worker had it. */
  refuse(worker: string, ref: AttemptRef, reason: Reason): boolean {
    const lease = this.#live(ref);
    if (lease?.worker !== worker) return false;
    const known = REASONS[reason.code as keyof typeof REASONS] as { result: string } | undefined;
    const result = known?.result === 'retry' ? 'retry' : 'exception';
    this.#close(lease, { result, reason, counted: result !== 'retry' });
    return true;
  }

  /** Gives back what was claimed for a connection that never got it. */
  withdraw(worker: Claimant, held: readonly AttemptRef[]): number {
    const row = this.workers.get(worker.id);
    if (row?.connectedAt !== worker.connectedAt || row.disconnectedAt !== null) return 0;
    const kept = new Set(held.map(({ build }) => build));
    const leases = this.#liveLeases().filter(
      (lease) => lease.worker === worker.id && !kept.has(lease.build),
    );
    for (const lease of leases)
      this.#close(lease, { result: 'retry', reason: lostReason('never got it'), counted: false });
    return leases.length;
  }

  lose(connected: readonly string[], lostAfterMs: number): LeaseRow[] {
    const now = this.clock();
    const lost = this.#liveLeases().filter(({ worker, grantedAt }) => {
      const seen = this.workers.get(worker)?.lastSeenAt ?? 0;
      return !connected.includes(worker) && Math.max(grantedAt, seen) < now - lostAfterMs;
    });
    for (const lease of lost) {
      this.watch.lost(lease);
      this.#close(lease, { result: 'retry', reason: lostReason('silent'), lost: true });
    }
    return lost;
  }

  forceCancelled(): LeaseRow[] {
    const now = this.clock();
    const overdue = this.#liveLeases().filter(({ cancel }) => cancel && cancel.deadline < now);
    for (const lease of overdue)
      this.#close(lease, { result: 'cancelled', reason: lease.cancel?.reason ?? null });
    if (overdue.length > 0) this.#notified.add('lease');
    return overdue;
  }

  cancelOrders(
    workers: readonly string[],
  ): { worker: string; build: number; epoch: number; reason: Reason }[] {
    return this.#liveLeases().flatMap(({ worker, build, epoch, cancel }) =>
      cancel && workers.includes(worker) ? [{ worker, build, epoch, reason: cancel.reason }] : [],
    );
  }

  /** Those of the given attempts that nobody holds any more. */
  ended(attempts: readonly AttemptRef[]): Set<number> {
    return new Set(attempts.filter((ref) => !this.#live(ref)).map(({ build }) => build));
  }

  // ── Journal ──

  commitBatch(items: readonly BatchItem[]): { index: number; outcome: Outcome }[] {
    const outcomes = new Map<string, { index: number; outcome: Outcome }>();
    const spoiled = new Map<number, string>();
    const finished = new Map<number, number>();
    for (const [index, item] of items.entries()) {
      const { build, epoch, seq } = item.record;
      const say = (outcome: Outcome) =>
        outcomes.set(`${item.worker} ${build} ${epoch} ${outcome.type}`, { index, outcome });
      // What stands behind the end, or behind what is corrupt, is nothing; its sender is told all the same.
      const problem = spoiled.get(build);
      const end = finished.get(build);
      if (problem !== undefined) say({ type: 'corrupt', build, epoch, problem });
      else if (end !== undefined && seq <= end) {
        say({ type: 'committed', build, epoch, seq: end });
        say({ type: 'finished', build, epoch });
      }
      if (problem !== undefined || end !== undefined) continue;
      const lease = this.#holder(item);
      if (!lease) {
        say({ type: 'taken', build, epoch });
        continue;
      }
      if (seq > lease.seq + 1) {
        say({ type: 'gap', build, epoch, seq: lease.seq });
        continue;
      }
      if (seq === lease.seq + 1) {
        const problem = this.#apply(item, lease);
        if (problem !== undefined) {
          spoiled.set(build, problem);
          say({ type: 'corrupt', build, epoch, problem });
          continue;
        }
      }
      say({ type: 'committed', build, epoch, seq: lease.seq });
      if (this.leases.get(lease.request) === lease) continue;
      finished.set(build, seq);
      say({ type: 'finished', build, epoch });
    }
    return [...outcomes.values()];
  }

  // ── Inside ──

  #holder({ worker, record }: BatchItem): LeaseRow | undefined {
    if (this.flaws.epochUnchecked) {
      const build = this.builds.get(record.build);
      return build && this.leases.get(build.request);
    }
    const lease = this.#live(record);
    return lease?.worker === worker ? lease : undefined;
  }

  /** What is wrong with it, if something is; then it has no effect. */
  #apply(item: BatchItem, lease: LeaseRow): string | undefined {
    const { record } = item;
    const build = this.#build(lease.build);
    const index = 'kind' in record ? record.step : 'step' in record.event ? record.event.step : 0;
    const step = build.steps[index];
    if (!step) return `build ${build.id} has no step ${index}`;
    if ('kind' in record) {
      if (record.offset !== step.logBytes)
        return `a chunk begins at ${record.offset}, the log of step ${index} ends at ${step.logBytes}`;
      step.logBytes += record.length;
      step.chunks.push({ stream: record.stream, payload: record.payload });
    } else {
      const { event } = record;
      if (event.kind === 'step.finished' && event.log.bytes !== step.logBytes)
        return `the log of step ${index} has ${event.log.bytes} bytes there and ${step.logBytes} here`;
      if (event.kind === 'step.started') Object.assign(step, { state: 'running', started: true });
      if (event.kind === 'step.finished') {
        const { result, reason = null } = event;
        const state = 'finished' as const;
        Object.assign(step, { state, result, reason, logFinished: true, logSealed: true });
      }
    }
    lease.seq = record.seq;
    this.watch.applied(item, lease);
    if (!('kind' in record) && record.event.kind === 'build.finished') {
      const { result, reason = null } = record.event;
      this.#close(lease, { result, reason });
    }
    return undefined;
  }

  #close(
    lease: LeaseRow,
    how: Pick<Ending, 'result' | 'reason'> & Partial<Pick<Ending, 'counted' | 'lost'>>,
  ): void {
    const request = this.requests.get(lease.request) as RequestRow;
    const build = this.#build(lease.build);
    const closing = decideClosing({
      counted: true,
      lost: false,
      ...how,
      cancel: lease.cancel?.reason ?? null,
      attempts: request.attempts,
    });
    const { result, reason } = closing;
    Object.assign(build, { state: 'finished', result, reason });
    for (const step of build.steps) {
      if (step.state === 'finished') continue;
      step.result = step.state === 'pending' ? 'skipped' : result;
      Object.assign(step, { state: 'finished', reason, logFinished: true });
    }
    request.attempts += closing.counted;
    if (closing.requeue) {
      request.state = 'pending';
      this.#notified.add('queue');
    } else this.#finishRequest(request, result);
    if (closing.lost) lease.lostAt = this.clock();
    else this.leases.delete(request.id);
  }

  #finishRequest(request: RequestRow, result: Result): void {
    this.watch.requestFinished(request);
    request.state = 'finished';
    request.result = result;
  }

  /** Until another worker has claimed the request, the old holder has it back with the same epoch. */
  #reclaim(worker: string, ref: AttemptRef): void {
    const lease = this.#leaseOf(ref);
    const request = lease && this.requests.get(lease.request);
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
    this.watch.reclaimed(lease);
  }

  #pending(labels: readonly string[]): RequestRow[] {
    return [...this.requests.values()]
      .filter(
        (one) => one.state === 'pending' && one.labels.every((label) => labels.includes(label)),
      )
      .sort((a, b) => a.rank - b.rank || a.id - b.id);
  }

  #liveLeases(): LeaseRow[] {
    return [...this.leases.values()]
      .filter(({ lostAt }) => lostAt === null)
      .sort((a, b) => a.build - b.build);
  }

  #leaseOf({ build, epoch }: AttemptRef): LeaseRow | undefined {
    const row = this.builds.get(build);
    const lease = row && this.leases.get(row.request);
    return lease?.build === build && lease.epoch === epoch ? lease : undefined;
  }

  #live(ref: AttemptRef): LeaseRow | undefined {
    const lease = this.#leaseOf(ref);
    return lease?.lostAt === null ? lease : undefined;
  }

  #build(id: number): BuildRow {
    return this.builds.get(id) as BuildRow;
  }
}

const lostReason = (message: string): Reason => ({ code: 'worker-lost', message });

const newStep = (): StepRow => ({
  state: 'pending',
  result: null,
  reason: null,
  started: false,
  logBytes: 0,
  logFinished: false,
  logSealed: false,
  chunks: [],
});
