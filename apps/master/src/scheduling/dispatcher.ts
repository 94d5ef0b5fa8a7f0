import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { deferred } from '@impgem/kit';
import type { Reason } from '@impgem/protocol';
import { Events } from '../events/index.js';
import { Database, isOutage, logger } from '../platform/index.js';
import { claim, type Assignment, type Claimant } from './claim.js';
import { Leases } from './leases.js';

/** A connected worker, as its session offers it. */
export interface Taker {
  readonly claimant: Claimant;
  /** Builds it would take now. */
  credit(): number;
  /** Hands builds out, uses up credit; false when the connection has ended meanwhile. */
  assign(assignments: Assignment[]): boolean;
  /** The attempts it has, as far as the session knows. */
  held(): { build: number; epoch: number }[];
  cancel(build: number, epoch: number, reason: Reason): void;
  /** The attempt was ended by the master. */
  taken(build: number, epoch: number, reason: Reason): void;
}

/** For wake-ups that got lost. */
const SAFETY_POLL_MS = 5000;
/** Claims of one worker in one transaction. */
const CLAIM_LIMIT = 32;

const log = logger('scheduling');

/**
 * Brings waiting requests and free workers of this master together. It wakes up for a notification, for
 * credit, and for a slow poll; one claim runs at a time. Other masters do the same for their workers: the rows
 * decide who gets what. A notification names the group that has a request more, so that it is not looked for.
 */
@Injectable()
export class Dispatcher implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #takers = new Map<string, Taker>();
  /** Groups in which requests may wait: too many here cost a claim that finds nothing, never a request. */
  readonly #waiting = new Set<number>();
  /** Those that were told of since the last look. */
  readonly #told = new Set<number>();
  /** Others than those may have some. */
  #lookAtAll = true;
  /** Those for whom a claim found less than was asked for, as it does for a connection that is not in force any more. */
  readonly #unserved = new WeakSet<Taker>();
  /**
   * Those that a claim gave less than was asked for, though there may be more: until the next look a worker is not
   * asked again for the groups that it may not have all of, and one that is given nothing for a while not at all.
   */
  readonly #heldBack = new Map<number, Set<Taker>>();
  readonly #paused = new Set<Taker>();
  /** What the groups seen so far require, which never changes. */
  readonly #groups = new Map<number, Group>();
  /** Those for whom a claim failed: it may be committed all the same. */
  readonly #doubtful = new Set<Taker>();
  readonly #unlisten: (() => void)[] = [];
  #wake = deferred();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** Notifications about leases so far. */
  #leaseNews = 0;
  #running: Promise<void> | undefined;

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly leases: Leases,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    this.#unlisten.push(
      await this.db.listen('queue', (group) => {
        if (group === '') return this.#lookAgain();
        this.#told.add(Number(group));
        this.wake();
      }),
      await this.db.listen('lease', () => {
        this.#leaseNews += 1;
        this.#tellSoon();
      }),
    );
    this.#timer = setInterval(() => this.#lookAgain(), SAFETY_POLL_MS);
    this.#running = this.#run();
  }

  /** No new claim begins; resolves when the last one is through. */
  async beforeApplicationShutdown(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    for (const unlisten of this.#unlisten) unlisten();
    this.wake();
    await this.#running;
  }

  /** The worker may be given builds from now on. A later one of the same id takes its place. */
  join(taker: Taker): void {
    this.#takers.set(taker.claimant.id, taker);
    this.wake();
    // What was asked for after its welcome was written, and before it stood here.
    if (taker.held().length > 0) this.#tellSoon();
  }

  leave(taker: Taker): void {
    this.#paused.delete(taker);
    for (const takers of this.#heldBack.values()) takers.delete(taker);
    if (this.#takers.get(taker.claimant.id) !== taker) return;
    this.#takers.delete(taker.claimant.id);
    if (this.#unserved.has(taker)) this.#lookAgain();
  }

  /** Looks for work soon; many calls make one look. */
  wake(): void {
    this.#wake.resolve();
  }

  #lookAgain(): void {
    this.#lookAtAll = true;
    this.#heldBack.clear();
    this.#paused.clear();
    this.wake();
  }

  /** Ids of the workers that are connected here. */
  connected(): string[] {
    return [...this.#takers.keys()];
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#wake.promise;
      this.#wake = deferred();
      if (this.#stopped) return;
      try {
        await this.#pass();
      } catch (error) {
        // The next wake-up, the poll at the latest, tries again.
        if (!isOutage(error)) log.error({ err: error }, 'cannot hand out builds');
      }
    }
  }

  /** Hands out until either the requests that can be served or the free slots are used up. */
  async #pass(): Promise<void> {
    for (const taker of this.#doubtful) await this.#withdraw(taker);
    if (!this.#lookAtAll && this.#told.size + this.#waiting.size === 0) return;
    const free = () =>
      [...this.#takers.values()].filter((taker) => taker.credit() > 0 && !this.#paused.has(taker));
    if (free().length === 0) return;
    await this.#look();
    // One each at first, so that few builds spread over many workers; then more at a time.
    for (let share = 1; !this.#stopped; share = Math.min(share * 2, CLAIM_LIMIT)) {
      const takers = free().filter((taker) => this.#servable(taker).length > 0);
      if (takers.length === 0) return;
      for (const taker of takers) {
        const groups = this.#servable(taker);
        const limit = Math.min(taker.credit(), takers.length === 1 ? CLAIM_LIMIT : share);
        if (groups.length === 0 || limit <= 0) continue;
        const { count, more } = await this.#handOut(taker, limit);
        if (count >= limit) continue;
        if (more) {
          this.#putOff(taker, groups);
          continue;
        }
        for (const id of groups) this.#waiting.delete(id);
        // Others may be served where this connection, since it has ended, was not.
        if (this.#takers.get(taker.claimant.id) === taker) this.#unserved.add(taker);
        else this.#lookAgain();
      }
    }
  }

  /** Until the next look this worker is not asked again for what it may not have now; others are. */
  #putOff(taker: Taker, groups: readonly number[]): void {
    for (const id of groups) {
      const takers = this.#heldBack.get(id) ?? new Set();
      this.#heldBack.set(id, takers.add(taker));
    }
  }

  /** Learns in which groups requests may wait by now. */
  async #look(): Promise<void> {
    const told = [...this.#told];
    this.#told.clear();
    for (const id of told) {
      this.#waiting.add(id);
      this.#heldBack.delete(id);
    }
    if (!this.#lookAtAll && told.every((id) => this.#groups.has(id))) return;
    this.#lookAtAll = false;
    try {
      const found = await this.db.query<Group>(PENDING_GROUPS);
      this.#waiting.clear();
      for (const group of found) {
        this.#groups.set(group.id, group);
        this.#waiting.add(group.id);
      }
    } catch (error) {
      this.#lookAtAll = true;
      throw error;
    }
  }

  /** The groups in which something may wait for this worker. */
  #servable(taker: Taker): number[] {
    const { claimant } = taker;
    return [...this.#waiting].filter((id) => {
      const group = this.#groups.get(id);
      return group !== undefined && fits(group, claimant) && !this.#heldBack.get(id)?.has(taker);
    });
  }

  async #handOut(taker: Taker, limit: number): Promise<{ count: number; more: boolean }> {
    const { claimant } = taker;
    const news = this.#leaseNews;
    this.#doubtful.add(taker);
    const { assignments, more, paused } = await this.db.transaction((tx) =>
      claim(tx, this.events, claimant, limit),
    );
    this.#doubtful.delete(taker);
    for (const { build, epoch } of assignments)
      log.debug({ build, epoch, worker: claimant.name }, 'assigned');
    if (assignments.length > 0 && !taker.assign(assignments))
      await this.#takeBack(claimant, assignments);
    // A cancel may have come before the session knew of the build.
    if (news !== this.#leaseNews) this.#tellSoon();
    // The turn in the order of workers goes round.
    if (assignments.length > 0 && this.#takers.get(claimant.id) === taker) {
      this.#takers.delete(claimant.id);
      this.#takers.set(claimant.id, taker);
    }
    // Its connection may have ended meanwhile; then there is nothing to remember.
    if (paused && this.#takers.get(claimant.id) === taker) this.#paused.add(taker);
    return { count: assignments.length, more };
  }

  /** Gives back what was claimed for a worker without our knowing. */
  async #withdraw(taker: Taker): Promise<void> {
    const { claimant } = taker;
    const count = await this.db.transaction((tx) =>
      this.leases.withdraw(tx, claimant, taker.held()),
    );
    if (count > 0) log.warn({ count, worker: claimant.name }, 'builds were claimed and not got');
    this.#doubtful.delete(taker);
  }

  /** The worker went while its builds were claimed. */
  async #takeBack(worker: Claimant, assignments: readonly Assignment[]): Promise<void> {
    const reason = { code: 'worker-lost', message: `worker ${worker.name} went away` };
    for (const assignment of assignments)
      await this.db.transaction((tx) => this.leases.refuse(tx, worker.id, assignment, reason));
  }

  #tellSoon(): void {
    this.#tellTakers().catch((err: unknown) => log.error({ err }, 'cannot pass on cancels'));
  }

  /** Something changed about leases: cancels go out, and attempts that were ended by force are stopped. */
  async #tellTakers(): Promise<void> {
    const takers = this.#takers;
    const held = [...takers.values()].flatMap((taker) =>
      taker.held().map((attempt) => ({ ...attempt, taker })),
    );
    if (held.length === 0) return;
    try {
      for (const { worker, build, epoch, reason } of await this.leases.cancelOrders(this.db, [
        ...takers.keys(),
      ]))
        takers.get(worker)?.cancel(build, epoch, reason);
      const ended = await this.leases.ended(this.db, held);
      const reason = { code: 'cancelled', message: 'ended by the master' };
      for (const { taker, build, epoch } of held)
        if (ended.has(build)) taker.taken(build, epoch, reason);
    } catch (error) {
      // After an outage `listen` calls again.
      if (!isOutage(error)) log.error({ err: error }, 'cannot pass on cancels');
    }
  }
}

interface Group {
  id: number;
  labels: string[];
  workers: string[];
}

function fits(group: Group, worker: Claimant): boolean {
  return (
    (group.workers.length === 0 || group.workers.includes(worker.name)) &&
    group.labels.every((label) => worker.labels.includes(label))
  );
}

// One look into the index for each group: with EXISTS the planner may read the whole backlog.
const PENDING_GROUPS = `
  SELECT g.id, g.labels, g.workers FROM requirement_groups g CROSS JOIN LATERAL (
    SELECT 1 FROM build_requests r WHERE r.group_id = g.id AND r.state = 'pending'
    ORDER BY r.rank, r.id LIMIT 1) waiting`;
