import type { ModelAssignment } from '@impgem/testkit';
import type { Master } from './master.js';
import type { MasterSession } from './master-session.js';

const SAFETY_POLL_MS = 5000;
const CLAIM_LIMIT = 32;

/** Brings waiting requests and the free workers of this master together; one claim at a time. */
export class Dispatcher {
  readonly #takers = new Map<string, MasterSession>();
  /** Those for whom a claim failed: it may be committed all the same. */
  readonly #doubtful = new Set<MasterSession>();
  #running = false;
  #again = false;
  #leaseNews = 0;

  constructor(private readonly master: Master) {
    const { link, process } = master;
    link.listen('queue', () => this.wake());
    link.listen('lease', () => {
      this.#leaseNews += 1;
      this.#tellTakers();
    });
    process.every(SAFETY_POLL_MS, () => this.wake());
  }

  join(taker: MasterSession): void {
    this.#takers.set(taker.worker, taker);
    this.wake();
    if (taker.held().length > 0) this.#tellTakers();
  }

  leave(taker: MasterSession): void {
    if (this.#takers.get(taker.worker) === taker) this.#takers.delete(taker.worker);
  }

  connected(): string[] {
    return [...this.#takers.keys()];
  }

  wake(): void {
    if (this.#running) this.#again = true;
    else this.#pass();
  }

  #pass(): void {
    if (this.master.stopping) return;
    this.#running = true;
    this.#again = false;
    const done = () => {
      this.#running = false;
      if (this.#again) this.#pass();
    };
    this.#withdraw(() => this.#round(1, new Set(), done), done);
  }

  /** Gives back what was claimed for a worker without our knowing. */
  #withdraw(then: () => void, failed: () => void): void {
    const [taker] = this.#doubtful;
    if (!taker?.claimant) return then();
    const { claimant } = taker;
    this.master.transaction(
      (db) => db.withdraw(claimant, taker.held()),
      () => {
        this.#doubtful.delete(taker);
        this.#withdraw(then, failed);
      },
      failed,
    );
  }

  /** One each at first, so that few builds spread over many workers; then more at a time. */
  #round(share: number, sated: Set<MasterSession>, done: () => void): void {
    const takers = [...this.#takers.values()].filter(
      (taker) => taker.credit() > 0 && !sated.has(taker),
    );
    if (takers.length === 0 || this.master.stopping) return done();
    const next = () => {
      const taker = takers.shift();
      if (!taker) return this.#round(Math.min(share * 2, CLAIM_LIMIT), sated, done);
      const limit = Math.min(taker.credit(), share);
      if (limit === 0) return next();
      this.#handOut(
        taker,
        limit,
        (count) => {
          if (count < limit) sated.add(taker);
          next();
        },
        done,
      );
    };
    next();
  }

  #handOut(
    taker: MasterSession,
    limit: number,
    then: (count: number) => void,
    failed: () => void,
  ): void {
    const { claimant } = taker;
    if (!claimant) return then(0);
    const news = this.#leaseNews;
    this.#doubtful.add(taker);
    this.master.transaction(
      (db) => (db.hasPending(claimant.labels) ? db.claim(claimant, limit) : []),
      (assignments) => {
        this.#doubtful.delete(taker);
        const given = assignments.length === 0 || taker.assign(assignments);
        if (news !== this.#leaseNews) this.#tellTakers();
        if (given) then(assignments.length);
        else this.#takeBack(taker.worker, assignments, () => then(assignments.length), failed);
      },
      failed,
    );
  }

  /** The worker went while its builds were claimed. */
  #takeBack(
    worker: string,
    assignments: readonly ModelAssignment[],
    then: () => void,
    failed: () => void,
  ): void {
    const reason = { code: 'worker-lost', message: 'the worker went away' };
    const act = (db: Parameters<Parameters<Master['transaction']>[0]>[0]) => {
      for (const assignment of assignments) db.refuse(worker, assignment, reason);
    };
    this.master.transaction(act, then, failed);
  }

  /** Something changed about leases: cancels go out, and attempts that were ended by force are stopped. */
  #tellTakers(): void {
    const held = [...this.#takers.values()].flatMap((taker) =>
      taker.held().map((attempt) => ({ ...attempt, taker })),
    );
    if (held.length === 0) return;
    const workers = [...this.#takers.keys()];
    this.master.transaction(
      (db) => ({ orders: db.cancelOrders(workers), ended: db.ended(held) }),
      ({ orders, ended }) => {
        for (const { worker, build, epoch, reason } of orders)
          this.#takers.get(worker)?.step({ type: 'cancel', build, epoch, reason });
        const reason = { code: 'cancelled', message: 'ended by the master' };
        for (const { taker, build, epoch } of held)
          if (ended.has(build)) taker.taken(build, epoch, reason);
      },
      () => {},
    );
  }
}
