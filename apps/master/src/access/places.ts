import { Injectable } from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { Gauge } from 'prom-client';
import { limitHits, type Limits, MasterConfig, type PlaceKind } from '../platform/index.js';

/** By kind: the limits of `config.limits` for all, and for one caller. */
const LIMITS_OF = {
  requests: ['requests', 'requestsPerCaller'],
  downloads: ['downloads', 'downloadsPerCaller'],
  archives: ['archives', 'archivesPerCaller'],
  searches: ['searches', 'searchesPerCaller'],
  checks: ['checks', 'checksPerCaller'],
  bodies: ['bodies', 'bodiesPerCaller'],
  live: ['liveConnections', 'liveConnectionsPerCaller'],
  subscriptions: ['liveSubscriptionsAtOnce', 'liveSubscriptionsPerCaller'],
  workers: ['workerConnections', 'connectionsPerWorker'],
} as const satisfies Record<PlaceKind, readonly [keyof Limits, keyof Limits]>;

const WHAT: Record<PlaceKind, string> = {
  requests: 'requests',
  downloads: 'downloads',
  archives: 'archives',
  searches: 'searches',
  checks: 'checks of farm files',
  bodies: 'large bodies',
  live: 'live sockets',
  subscriptions: 'subscriptions of live sockets',
  workers: 'connections of workers',
};

/**
 * Places for what is under way, each kind bounded twice: for all, so that the master is not filled, and for one caller (a
 * token with all its sessions, or a worker), so that nobody takes the places of all.
 */
@Injectable()
export class Places {
  readonly #taken = new Map<PlaceKind, Map<string, number>>();
  readonly #totals = new Map<PlaceKind, number>();

  constructor(private readonly config: MasterConfig) {}

  /** Throws as `take` does when all places are taken, whoever asks. */
  check(kind: PlaceKind): void {
    const [forAll] = LIMITS_OF[kind];
    if ((this.#totals.get(kind) ?? 0) < this.config.limits[forAll]) return;
    limitHits.inc({ limit: forAll });
    throw new FarmError('overloaded', `too many ${WHAT[kind]} are under way; try again later`, {
      limit: forAll,
    });
  }

  /**
   * Takes a place at once, and returns the function that gives it back, once. Throws `overloaded` when all are taken,
   * `too-many-requests` when the caller has too many.
   */
  take(kind: PlaceKind, caller: string): () => void {
    this.check(kind);
    const [, perCaller] = LIMITS_OF[kind];
    const taken = this.#taken.get(kind) ?? new Map<string, number>();
    this.#taken.set(kind, taken);
    const own = taken.get(caller) ?? 0;
    const most = this.config.limits[perCaller];
    if (own >= most) {
      limitHits.inc({ limit: perCaller });
      throw new FarmError(
        'too-many-requests',
        `you have ${own} ${WHAT[kind]} under way, and may have ${most}; try again when one has ended`,
        { limit: perCaller },
      );
    }
    taken.set(caller, own + 1);
    this.#total(kind, 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const left = (taken.get(caller) ?? 1) - 1;
      if (left > 0) taken.set(caller, left);
      else taken.delete(caller);
      this.#total(kind, -1);
    };
  }

  #total(kind: PlaceKind, change: number): void {
    const total = (this.#totals.get(kind) ?? 0) + change;
    this.#totals.set(kind, total);
    used.set({ kind }, total);
  }
}

const used = new Gauge({
  name: 'impgem_places_used',
  help: 'What is under way now, by kind; each kind has a limit for all and one per caller',
  labelNames: ['kind'],
});
