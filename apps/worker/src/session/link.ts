import type { WebSocket } from 'ws';

/** Bytes that may wait in the socket: more would only make what is urgent wait behind it. */
const HIGH_BYTES = 256 * 1024;
/** So many log frames go before an artifact block gets its turn, when both wait. */
const LOGS_PER_BLOCK = 8;

export type Urgency = 'log' | 'block';

/**
 * The sending side of an open socket. Control frames go at once; data frames wait for room, log chunks before
 * artifact blocks, in a ratio that starves neither.
 */
export class Link {
  private readonly abort = new AbortController();
  private readonly waiting: Record<Urgency, ((open: boolean) => void)[]> = { log: [], block: [] };
  private streak = 0;

  constructor(readonly socket: WebSocket) {}

  /** Aborted when the connection is over. */
  get gone(): AbortSignal {
    return this.abort.signal;
  }

  end(): void {
    this.abort.abort();
    for (const urgency of ['log', 'block'] as const)
      for (const settle of this.waiting[urgency].splice(0)) settle(false);
  }

  text(text: string): void {
    if (!this.gone.aborted) this.socket.send(text, () => this.wake());
  }

  /** Settles when a data frame may be sent: `false` when the connection is over. Send at once after that. */
  async room(urgency: Urgency): Promise<boolean> {
    if (this.gone.aborted) return false;
    if (this.free && this.waiting.log.length + this.waiting.block.length === 0) return true;
    return new Promise((resolve) => {
      this.waiting[urgency].push(resolve);
      this.wake();
    });
  }

  binary(bytes: Uint8Array): void {
    if (!this.gone.aborted) this.socket.send(bytes, () => this.wake());
  }

  private get free(): boolean {
    return this.socket.bufferedAmount < HIGH_BYTES;
  }

  /** Lets one of those who wait go; it sends, and its frame's end wakes the next. */
  private wake(): void {
    if (!this.free) return;
    const { log, block } = this.waiting;
    const blocksTurn = log.length === 0 || (block.length > 0 && this.streak >= LOGS_PER_BLOCK);
    const next = blocksTurn ? block.shift() : log.shift();
    if (!next) return;
    this.streak = blocksTurn ? 0 : this.streak + 1;
    next(true);
    // It may have had nothing to send after all.
    setImmediate(() => this.wake());
  }
}
