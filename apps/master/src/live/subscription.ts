import { setTimeout as sleep } from 'node:timers/promises';
import { deferred, FarmError, fullJitter } from '@impgem/kit';
import { Counter, Gauge } from 'prom-client';
import type { Viewer } from './viewer.js';

/** Something to send: `end` is the position behind it, `body` the message without `{` and its id. */
export interface Piece<Position> {
  type: 'event' | 'log' | 'log.end';
  end: Position;
  /** JSON members after `type` and `id`, with the closing brace. */
  body: string;
  /** Belongs to the end: it takes no position, and goes to everyone at the head. */
  final?: true;
}

/** What one read of the database gave. */
export interface Batch<Position> {
  /** Made one by one, as there is room to send them. */
  pieces: Iterable<Piece<Position>>;
  /** Where to read on. */
  end: Position;
  /** Nothing more is there now. */
  exhausted: boolean;
  /** Nothing more will ever come. */
  finished: boolean;
}

/** Reads the history of one topic from a position on; owned by one subscription that is behind. */
export interface History<Position> {
  read(): Promise<Batch<Position>>;
}

/** Feeds the subscriptions that have seen everything; the database is read once for all of them. */
interface Head<Position> {
  /** Takes a subscription in; false when it stands before the head, so that it must read on by itself. */
  join(subscription: Subscription<Position>, history: History<Position>): boolean;
  leave(subscription: Subscription<Position>): void;
}

export interface Topic<Position> {
  history(from: Position): Promise<History<Position>>;
  head: Head<Position>;
  compare(a: Position, b: Position): number;
}

const RETRY = { baseMs: 100, capMs: 5000 };

/**
 * One subscription of one viewer. Behind the head it reads the database by itself, a batch at a time and only
 * when the viewer has room; at the head it is fed by the hub. A viewer that cannot keep up is put behind again, so
 * that it costs a cursor and not a queue. Nothing is missed or doubled on the way between the two: the hub skips
 * what lies before the position, and takes nobody in who has not seen all before its own.
 */
export class Subscription<Position> {
  /** Resolves when it is over: finished, unsubscribed, or the viewer went away. */
  readonly done: Promise<void>;
  readonly #stop = new AbortController();
  #kicked = deferred();
  #failure: { error: unknown } | undefined;
  readonly #prefix: string;

  constructor(
    id: string,
    private readonly viewer: Viewer,
    private readonly topic: Topic<Position>,
    public position: Position,
  ) {
    this.#prefix = `"id":${JSON.stringify(id)},`;
    viewer.closed.addEventListener('abort', () => this.close(), {
      once: true,
      signal: this.#stop.signal,
    });
    if (viewer.closed.aborted) this.close();
    this.done = this.#run();
  }

  close(): void {
    this.#stop.abort();
    this.topic.head.leave(this);
    this.#kicked.resolve();
  }

  /** From the hub: it cannot go on with this topic. `done` rejects. */
  fail(error: unknown): void {
    this.#failure = { error };
    this.topic.head.leave(this);
    this.#kicked.resolve();
  }

  /** From the hub: a piece at the head. False when the viewer is slow, and the subscription has left. */
  take(piece: Piece<Position>): boolean {
    if (this.topic.compare(piece.end, this.position) <= 0 && !piece.final) return true;
    // The end is short, and half of it cannot be read again.
    if (this.viewer.full && !piece.final) {
      slow.inc();
      this.topic.head.leave(this);
      this.#kicked.resolve();
      return false;
    }
    this.#send(piece);
    return true;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted;) {
      try {
        behind.inc();
        await this.#catchUp().finally(() => behind.dec());
        attempt = 0;
        await this.#kicked.promise;
        if (this.#failure) throw this.#failure.error;
      } catch (error) {
        if (signal.aborted && error === signal.reason) return;
        // Only while the database is away; a bug is for the owner of `done`.
        if (!(error instanceof FarmError && error.code === 'database-unavailable')) throw error;
        await sleep(fullJitter(attempt++, RETRY), undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** Sends history until the head takes over, or all is said. */
  async #catchUp(): Promise<void> {
    this.#kicked = deferred();
    let history: History<Position> | undefined;
    while (!this.#stop.signal.aborted) {
      await this.viewer.drained();
      if (this.#stop.signal.aborted) return;
      const read = await this.viewer.shares.read(() => this.#readOn(history), this.#stop.signal);
      history = read?.history;
      if (read?.isAtEnd && !this.viewer.full && this.topic.head.join(this, read.history)) return;
    }
  }

  /**
   * Reads and sends a batch. Without an answer when the viewer has no room for all of it: then it waits with a position and
   * not with what was read, which would be much when many wait.
   */
  async #readOn(before: History<Position> | undefined) {
    const history = before ?? (await this.topic.history(this.position));
    const batch = await history.read();
    if (!(await this.#sendAll(batch))) return undefined;
    this.position = batch.end;
    if (batch.finished) this.close();
    return { history, isAtEnd: batch.exhausted && !batch.finished };
  }

  /** False when the viewer has no room in between, or it is over. */
  async #sendAll({ pieces }: Batch<Position>): Promise<boolean> {
    const pause = this.viewer.shares.slices();
    for (const piece of pieces) {
      // The end is short, and half of it cannot be read again.
      if (this.#stop.signal.aborted || (this.viewer.full && !piece.final)) return false;
      this.#send(piece);
      await pause();
    }
    return true;
  }

  #send(piece: Piece<Position>): void {
    this.viewer.send(`{"type":"${piece.type}",${this.#prefix}${piece.body}`);
    this.position = piece.end;
    if (piece.type === 'log.end') this.close();
  }
}

const slow = new Counter({
  name: 'impgem_live_slow_viewers_total',
  help: 'Times that a live subscription fell behind and was left to read the database by itself',
});
const behind = new Gauge({
  name: 'impgem_live_subscriptions_behind',
  help: 'Live subscriptions that read history by themselves now',
});
