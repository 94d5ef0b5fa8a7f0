import { Injectable } from '@nestjs/common';
import { type Pause, TokenBucket } from '@impgem/kit';
import { BulkWork, FairQueue, Places } from '../access/index.js';
import { MasterConfig } from '../platform/index.js';

/** Messages that wait for one socket, in bytes: less than one of a log would not keep a reader busy; more is never needed. */
const LEAST_BYTES = 32 * 1024;
const FULL_BYTES = 1024 * 1024;

/** What one socket may have of what all share. */
export interface Shares {
  /** Takes the place of a subscription, and returns the function that gives it back. Throws when there is none. */
  subscribe(): () => void;
  /** Counts a request; how long to wait with it, in milliseconds. */
  request(): number;
  /** Runs what reads the database in the caller's turn. Rejects with the reason of `signal` when it aborts before. */
  read<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
  /** For a batch that is sent: see `BulkWork`. */
  slices(): Pause;
  /** Bytes that may wait for a slow reader. */
  fullBytes(): number;
}

/** Those of a socket that is alone. */
export const ALONE: Shares = {
  subscribe: () => () => undefined,
  request: () => 0,
  read: (work) => work(),
  slices: () => () => undefined,
  fullBytes: () => FULL_BYTES,
};

/** Shares the work for live sockets, and the memory for slow readers, between callers. */
@Injectable()
export class LiveShares {
  readonly #reads: FairQueue;
  /** By token. They stay, so that nobody gets a new burst by coming again. */
  readonly #requests = new Map<string, TokenBucket>();

  constructor(
    private readonly places: Places,
    private readonly bulk: BulkWork,
    private readonly config: MasterConfig,
  ) {
    const { liveReadsAtOnce, liveReadsAtOncePerCaller } = config.limits;
    this.#reads = new FairQueue(liveReadsAtOnce, liveReadsAtOncePerCaller);
  }

  /** Of one socket of this token; `sockets` tells how many there are now. */
  of(tokenId: string, sockets: () => number): Shares {
    const { liveWaitingBytes, liveRequestsPerSecond, liveRequestBurst } = this.config.limits;
    const rate = { perSecond: liveRequestsPerSecond, burst: liveRequestBurst };
    const requests = this.#requests.get(tokenId) ?? new TokenBucket(rate, performance.now());
    this.#requests.set(tokenId, requests);
    return {
      subscribe: () => this.places.take('subscriptions', tokenId),
      request: () => requests.take(performance.now()),
      read: (work, signal) => this.#reads.run(tokenId, work, signal),
      slices: () => this.bulk.slices(tokenId),
      fullBytes: () =>
        Math.min(FULL_BYTES, Math.max(LEAST_BYTES, liveWaitingBytes / Math.max(1, sockets()))),
    };
  }
}
