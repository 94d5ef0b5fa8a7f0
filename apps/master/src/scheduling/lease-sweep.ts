import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { LeaseClock } from '@impgem/protocol';
import { Database, isOutage, logger, MasterConfig } from '../platform/index.js';
import { Dispatcher } from './dispatcher.js';
import { Leases } from './leases.js';

const log = logger('scheduling');

/**
 * Ends what nobody else will end: builds of workers that are not heard of, cancels that nobody answers, and builds that
 * their workers keep beyond their timeout.
 * The time of a lease counts only while a master can hear its worker (`LeaseClock`), so this looks often.
 */
@Injectable()
export class LeaseSweep implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #everyMs: number;
  readonly #lostAfterMs: number;
  readonly #graceMs: number;
  readonly #clock: LeaseClock;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(
    private readonly db: Database,
    private readonly leases: Leases,
    private readonly dispatcher: Dispatcher,
    config: MasterConfig,
  ) {
    this.#lostAfterMs = config.lostAfterMs;
    this.#graceMs = config.buildGraceMs;
    this.#everyMs = Math.min(5000, Math.max(100, config.lostAfterMs / 10));
    this.#clock = new LeaseClock(this.#everyMs);
  }

  onApplicationBootstrap(): void {
    this.#timer = setInterval(() => {
      this.#looking ??= this.look(performance.now()).finally(() => (this.#looking = undefined));
    }, this.#everyMs);
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  /**
   * One look; `now` in milliseconds of a clock that only grows, `took` tells how long it has lasted. Never rejects.
   */
  async look(now: number, took = stopwatch()): Promise<void> {
    const heardMs = this.#clock.look(now);
    try {
      const forced = await this.db.transaction((tx) => this.leases.forceCancelled(tx));
      for (const { build, epoch, worker } of forced)
        log.warn({ build, epoch, worker }, 'a cancel was not answered in time; ended by force');
      const lost = await this.db.transaction(async (tx) => {
        const connected = this.dispatcher.connected();
        const leases = await this.leases.lose(tx, connected, heardMs, this.#lostAfterMs);
        if (!this.#clock.answered(took())) throw hung();
        return leases;
      });
      for (const { build, epoch, worker } of lost)
        log.warn({ build, epoch, worker }, 'the worker is lost; its build goes to another');
      await this.#endOverdue(heardMs);
    } catch (error) {
      this.#clock.failed();
      if (!isOutage(error)) log.error({ err: error }, 'cannot look after leases');
    }
  }

  async #endOverdue(heardMs: number): Promise<void> {
    const overdue = await this.db.transaction((tx) =>
      this.leases.endOverdue(tx, heardMs, this.#graceMs, this.#lostAfterMs),
    );
    for (const { build, epoch, worker } of overdue)
      log.warn({ build, epoch, worker }, 'the build is long over its timeout; ended by force');
  }
}

function stopwatch(): () => number {
  const begun = performance.now();
  return () => performance.now() - begun;
}

/** Rolls back what a look gave up. */
function hung(): FarmError {
  return new FarmError('database-unavailable', 'the database hung during a look after leases');
}
