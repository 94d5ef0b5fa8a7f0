import { deferred } from '@impgem/kit';
import { Counter, Gauge } from 'prom-client';
import type { WebSocket } from 'ws';

/** Unsent bytes above which a viewer is slow and nothing more is put on top, at the most. */
export const FULL_BYTES = 1024 * 1024;
/** With the share of that below which it is fed again. */
const DRAINED = 0.25;

/**
 * One live connection, as those see it who write to it. What waits to be sent stays below FULL_BYTES and one
 * message for each of its subscriptions, since everyone asks `full` before writing. `fullBytes` tells the share of this
 * connection, where many are open.
 */
export class Viewer {
  /** Aborted when the connection is over. */
  readonly closed: AbortSignal;
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly socket: WebSocket,
    private readonly fullBytes: () => number = () => FULL_BYTES,
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
    return this.socket.bufferedAmount > this.fullBytes();
  }

  /** Sends a message; after the end of the connection it does nothing. */
  send(text: string): void {
    if (this.closed.aborted || this.socket.readyState !== this.socket.OPEN) return;
    this.socket.send(text, () => {
      if (this.socket.bufferedAmount <= DRAINED * this.fullBytes()) this.#wake();
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
