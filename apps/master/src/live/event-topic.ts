import type { FarmEvent } from '@impgem/client';
import { comparePositions, type Events } from '../events/index.js';
import type { History, Piece, Subscription, Topic } from './subscription.js';

/** Events read at once. */
const BATCH = 256;
/** How soon events that a running transaction holds back are looked for again: from and up to, doubled each time. */
const HELD_MS = { first: 20, most: 500 };

type EventSubscription = Subscription<string>;

/** The farm's events, or those of one build. */
export class EventHead {
  /** Undefined while nobody is at the head. */
  #position: string | undefined;
  #heldMs = HELD_MS.first;
  /** By build; undefined for those of the whole farm. */
  readonly #groups = new Map<number | undefined, Set<EventSubscription>>();
  readonly #builds = new Map<EventSubscription, number | undefined>();

  constructor(
    private readonly events: Events,
    private readonly wake: () => void,
  ) {}

  /** What subscriptions of this build (or of the whole farm) follow. */
  topic(build: number | undefined): Topic<string> {
    return {
      compare: comparePositions,
      history: async (from) => new EventHistory(this.events, build, from),
      head: {
        join: (subscription) => this.#join(subscription, build),
        leave: (subscription) => this.#leave(subscription),
      },
    };
  }

  #leave(subscription: EventSubscription): void {
    const build = this.#builds.get(subscription);
    if (!this.#builds.delete(subscription)) return;
    const group = this.#groups.get(build);
    group?.delete(subscription);
    if (group?.size === 0) this.#groups.delete(build);
    if (this.#builds.size === 0) this.#position = undefined;
  }

  /** Reads what is new, once, and gives it to all; answers when to look again if something is held back. */
  async pass(): Promise<{ againMs?: number }> {
    while (this.#position !== undefined) {
      const from: string = this.#position;
      const batch = await this.events.readOn({ after: from, limit: BATCH });
      // Everyone left meanwhile, and perhaps others came, elsewhere.
      if (this.#position !== from) continue;
      for (const event of batch.events) {
        const piece = toPiece(event);
        this.#give(this.#groups.get(undefined), piece);
        if (event.build !== undefined) this.#give(this.#groups.get(event.build), piece);
      }
      if (this.#position !== undefined) this.#position = batch.end;
      if (batch.exhausted) return this.#next(batch.held);
    }
    return {};
  }

  #next(held: boolean): { againMs?: number } {
    const againMs = this.#heldMs;
    this.#heldMs = held ? Math.min(againMs * 2, HELD_MS.most) : HELD_MS.first;
    return held ? { againMs } : {};
  }

  #give(group: Set<EventSubscription> | undefined, piece: Piece<string>): void {
    for (const subscription of group ?? []) subscription.take(piece);
  }

  #join(subscription: EventSubscription, build: number | undefined): boolean {
    if (this.#position !== undefined && comparePositions(subscription.position, this.#position) < 0)
      return false;
    this.#position ??= subscription.position;
    this.#builds.set(subscription, build);
    const group = this.#groups.get(build);
    if (group) group.add(subscription);
    else this.#groups.set(build, new Set([subscription]));
    // What was committed since its last read may have been announced already.
    this.wake();
    return true;
  }
}

class EventHistory implements History<string> {
  constructor(
    private readonly events: Events,
    private readonly build: number | undefined,
    private position: string,
  ) {}

  async read() {
    const batch = await this.events.readOn({
      after: this.position,
      build: this.build,
      limit: BATCH,
    });
    this.position = batch.end;
    return {
      pieces: batch.events.map(toPiece),
      end: batch.end,
      exhausted: batch.exhausted,
      finished: false,
    };
  }
}

function toPiece(event: FarmEvent): Piece<string> {
  return { type: 'event', end: event.id, body: `"event":${JSON.stringify(event)}}` };
}
