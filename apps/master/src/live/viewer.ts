import { deferred } from '@impgem/kit';
import { Counter, Gauge } from 'prom-client';
import type { WebSocket } from 'ws';
import type { Shares } from './shares.js';

/** With this part of its share of unsent bytes, or less, a viewer is fed again. */
const DRAINED = 0.25;

/**
 * One live connection, as those see it who write to it. What waits to be sent stays below its share and one
 * message for each of its subscriptions, since everyone asks `full` before writing.
 */
export class Viewer {
  /** Aborted when the connection is over. */
  readonly closed: AbortSignal;
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly socket: WebSocket,
    readonly shares: Shares,
  ) {
    const over = new AbortController();
    this.closed = over.signal;
    const end = () => {
      over.abort();
      this.#wake();
    };
    socket.once('close', end);
    if (socket.readyState === socket.CLOSED || socket.readyState === socket.CLOSING) end();
    // A subscription may wait on this in many places.
    socket.setMaxListeners(0);
  }

  get full(): boolean {
    return this.socket.bufferedAmount > this.shares.fullBytes();
  }

  /** Sends a message; after the end of the connection it does nothing. */
  send(text: string): void {
    if (this.closed.aborted || this.socket.readyState !== this.socket.OPEN) return;
    this.socket.send(text, () => {
      if (this.socket.bufferedAmount <= DRAINED * this.shares.fullBytes()) this.#wake();
    });
  }

  /** Resolves when there is room again, or the connection is over. */
  async drained(): Promise<void> {
    while (this.full && !this.closed.aborted) {
      const { promise, resolve } = deferred();
      this.#waiting.add(resolve);
      await promise;
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

export const openSockets = new Gauge({
  name: 'impgem_live_sockets',
  help: 'Open live sockets',
});

export const liveErrors = new Counter({
  name: 'impgem_live_errors_total',
  help: 'Live sockets and requests on them that were refused or failed, by code',
  labelNames: ['code'],
});
