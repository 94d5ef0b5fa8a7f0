import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { Events } from '../events/index.js';
import { Logs } from '../logs/index.js';
import { Database } from '../platform/index.js';
import { EventHead } from './event-topic.js';
import { LogHeads } from './log-topic.js';
import type { SubscribeEvents, SubscribeLog } from './requests.js';
import { Subscription } from './subscription.js';
import type { Viewer } from './viewer.js';
import { Wake } from './wake.js';

/**
 * What this master's live sockets share: it hears NOTIFY, reads what is new once, and hands it to everyone at the
 * head. It keeps positions and unfinished characters only, so that any master can serve any viewer.
 */
@Injectable()
export class LiveHub implements OnApplicationBootstrap {
  readonly #events: EventHead;
  readonly #logs: LogHeads;
  readonly #wakeEvents: Wake;
  readonly #wakeLogs: Wake;
  #unlisten: (() => void)[] = [];

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly logs: Logs,
  ) {
    this.#wakeEvents = new Wake(() => this.#events.pass());
    this.#wakeLogs = new Wake(() => this.#logs.pass());
    this.#events = new EventHead(events, () => this.#wakeEvents.wake());
    this.#logs = new LogHeads(logs, () => this.#wakeLogs.wake());
  }

  async onApplicationBootstrap(): Promise<void> {
    this.#unlisten = [
      await this.db.listen('events', () => {
        this.#wakeEvents.wake();
        // The end of a log comes with an event.
        this.#wakeLogs.wake();
      }),
      await this.db.listen('log', () => this.#wakeLogs.wake()),
    ];
  }

  async stop(): Promise<void> {
    for (const end of this.#unlisten) end();
    await Promise.all([this.#wakeEvents.stop(), this.#wakeLogs.stop()]);
  }

  /**
   * Events after a position, or from now on. `begun` is called before the first of them. Throws
   * `invalid-request` for a position that is none.
   */
  async followEvents(
    { id, build, after }: SubscribeEvents,
    viewer: Viewer,
    begun: (after: string) => void,
  ): Promise<Subscription<string>> {
    if (after !== undefined) await this.events.read({ after, build, limit: 1 });
    const from = after ?? (await this.events.head());
    begun(from);
    return new Subscription(id, viewer, this.#events.topic(build), from);
  }

  /** Throws `not-found`, or `range-not-satisfiable` when the log has fewer bytes than `offset`. */
  async followLog(
    { id, build, step, offset = 0 }: SubscribeLog,
    viewer: Viewer,
    begun: () => void,
  ): Promise<Subscription<number>> {
    const { bytes } = await this.logs.state({ build, step });
    if (offset > bytes)
      throw new FarmError('range-not-satisfiable', `the log has ${bytes} bytes, not ${offset}`);
    begun();
    return new Subscription(id, viewer, this.#logs.topic({ build, step }), offset);
  }
}
