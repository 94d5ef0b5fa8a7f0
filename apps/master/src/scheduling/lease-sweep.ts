import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { Database, isOutage, logger, MasterConfig } from '../platform/index.js';
import { Dispatcher } from './dispatcher.js';
import { Leases } from './leases.js';

const log = logger('scheduling');

/**
 * Ends what nobody else will end: builds of workers that are not heard of, and cancels that nobody answers.
 *
 * The time of a lease counts only while a master can hear its worker. So this looks often, and when a look
 * failed (the database was away) or came much too late (the machine slept), everything starts afresh.
 */
@Injectable()
export class LeaseSweep implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #everyMs: number;
  readonly #lostAfterMs: number;
  #hearingSince: number | undefined;
  #lastLook = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(
    private readonly db: Database,
    private readonly leases: Leases,
    private readonly dispatcher: Dispatcher,
    config: MasterConfig,
  ) {
    this.#lostAfterMs = config.lostAfterMs;
    this.#everyMs = Math.min(5000, Math.max(100, config.lostAfterMs / 10));
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

  /** One look; `now` in milliseconds of a clock that only grows. Never rejects. */
  async look(now: number): Promise<void> {
    const gap = now - this.#lastLook;
    this.#lastLook = now;
    if (this.#hearingSince === undefined || gap > 3 * this.#everyMs + 5000)
      this.#hearingSince = now;
    try {
      const forced = await this.db.transaction((tx) => this.leases.forceCancelled(tx));
      for (const { build, epoch, worker } of forced)
        log.warn({ build, epoch, worker }, 'a cancel was not answered in time; ended by force');
      if (now - this.#hearingSince < this.#lostAfterMs) return;
      const lost = await this.db.transaction((tx) =>
        this.leases.lose(tx, this.dispatcher.connected(), this.#lostAfterMs),
      );
      for (const { build, epoch, worker } of lost)
        log.warn({ build, epoch, worker }, 'the worker is lost; its build goes to another');
    } catch (error) {
      this.#hearingSince = undefined;
      if (!isOutage(error)) log.error({ err: error }, 'cannot look after leases');
    }
  }
}
