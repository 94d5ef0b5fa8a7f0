import { setTimeout as sleep } from 'node:timers/promises';
import { PROBLEM_CODES, type LiveMessage, type ProblemCode } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import type { RawData, WebSocket } from 'ws';
import type { Caller } from '../access/index.js';
import { closeSocket, type Limits, logger, shielded } from '../platform/index.js';
import type { LiveHub } from './hub.js';
import { parseRequest, type Request } from './requests.js';
import type { Subscription } from './subscription.js';
import { ALONE, type Shares } from './shares.js';
import { liveErrors, Viewer } from './viewer.js';

const log = logger('live');

/** One live socket: takes requests one after the other, and keeps the subscriptions. */
export class LiveSession {
  readonly #viewer: Viewer;
  readonly #subscriptions = new Map<string, Subscription<string> | Subscription<number>>();
  #alive = true;
  #queue: Promise<void> = Promise.resolve();
  #waiting = 0;
  #expiry: NodeJS.Timeout | undefined;

  constructor(
    private readonly socket: WebSocket,
    readonly caller: Caller,
    private readonly hub: LiveHub,
    private readonly limits: Limits,
    private readonly shares: Shares = ALONE,
  ) {
    this.#viewer = new Viewer(socket, shares);
    socket.on(
      'message',
      shielded(socket, (data: RawData, binary: boolean) => this.#receive(data, binary)),
    );
    socket.on('pong', () => (this.#alive = true));
    socket.once('close', () => clearTimeout(this.#expiry));
    this.#expireAt(caller.expiresAt);
    this.#say({ type: 'hello', actor: caller.actor });
  }

  /** Ends a socket whose peer has not answered the last ping. */
  ping(): void {
    if (!this.#alive) {
      this.socket.terminate();
      return;
    }
    this.#alive = false;
    this.socket.ping();
  }

  close(code: number, reason: string): void {
    for (const subscription of this.#subscriptions.values()) subscription.close();
    void closeSocket(this.socket, code, reason);
  }

  #receive(data: RawData, binary: boolean): void {
    if (this.socket.readyState !== this.socket.OPEN) return;
    // Requests wait in order; while one is handled the socket is not read. Some have come with the first.
    if (++this.#waiting > this.limits.liveRequestsWaiting) {
      this.close(1008, 'too many requests at once: wait for the answers');
      return;
    }
    this.socket.pause();
    this.#queue = this.#after(this.#queue, binary ? undefined : String(data));
  }

  async #after(earlier: Promise<void>, text: string | undefined): Promise<void> {
    await earlier;
    const { closed } = this.#viewer;
    try {
      // Nobody is there any more who could be told.
      if (closed.aborted) return;
      const waitMs = this.shares.request();
      if (waitMs > 0) await sleep(waitMs, undefined, { ref: false, signal: closed });
      await this.#handle(text);
      if (--this.#waiting === 0) this.socket.resume();
    } catch (err) {
      if (closed.aborted) return;
      // An answer that cannot be given costs this socket, and nobody else's.
      log.error({ err, actor: this.caller.actor }, 'an error of the master; a live socket is cut');
      this.socket.terminate();
    }
  }

  async #handle(text: string | undefined): Promise<void> {
    let id: string | null = null;
    try {
      if (text === undefined)
        throw new FarmError('invalid-request', 'messages are JSON, in text frames');
      const request = parseRequest(text);
      ({ id } = request);
      await this.#do(request);
    } catch (error) {
      const given = error instanceof FarmError ? error.details.id : undefined;
      this.#fail(typeof given === 'string' ? given : id, error);
    }
  }

  async #do(request: Request): Promise<void> {
    const { id } = request;
    if (request.type === 'unsubscribe') {
      this.#subscriptions.get(id)?.close();
      this.#subscriptions.delete(id);
      this.#say({ type: 'unsubscribed', id });
      return;
    }
    if (this.#subscriptions.has(id))
      throw new FarmError(
        'invalid-request',
        `there is a subscription ${JSON.stringify(id)} already`,
      );
    const most = this.limits.liveSubscriptions;
    if (this.#subscriptions.size >= most)
      throw new FarmError('too-many-requests', `a socket has at most ${most} subscriptions`);
    const begun = (after?: string) =>
      this.#say({ type: 'subscribed', id, ...(after === undefined ? {} : { after }) });
    const leave = this.shares.subscribe();
    let subscription: Subscription<string> | Subscription<number>;
    try {
      subscription = await this.shares.read<typeof subscription>(
        () =>
          request.topic === 'events'
            ? this.hub.followEvents(request, this.#viewer, begun)
            : this.hub.followLog(request, this.#viewer, begun),
        this.#viewer.closed,
      );
    } catch (error) {
      leave();
      throw error;
    }
    // Also one that was given up keeps its place until it has stopped reading.
    subscription.done.then(leave, leave);
    this.#subscriptions.set(id, subscription);
    this.#watch(id, subscription);
  }

  #watch(id: string, subscription: Subscription<string> | Subscription<number>): void {
    const over = () => {
      if (this.#subscriptions.get(id) === subscription) this.#subscriptions.delete(id);
    };
    subscription.done
      .then(over, (error: unknown) => {
        over();
        subscription.close();
        this.#fail(id, error);
      })
      .catch((err: unknown) => {
        log.error(
          { err, actor: this.caller.actor },
          'an error of the master; a live socket is cut',
        );
        this.socket.terminate();
      });
  }

  #fail(id: string | null, error: unknown): void {
    const known = error instanceof FarmError && Object.hasOwn(PROBLEM_CODES, error.code);
    if (!known) log.error({ err: error, actor: this.caller.actor }, 'a live request failed');
    const code: ProblemCode = known ? (error.code as ProblemCode) : 'internal';
    const detail = known ? error.message : PROBLEM_CODES.internal.title;
    liveErrors.inc({ code });
    this.#say({ type: 'error', id, code, detail });
  }

  #expireAt(at: Date | undefined): void {
    if (!at) return;
    // Timers count 31 bits of milliseconds; a token that lives longer is looked at again.
    const wait = Math.min(at.getTime() - Date.now(), 2 ** 31 - 1);
    this.#expiry = setTimeout(
      () => {
        if (at.getTime() <= Date.now()) this.close(1008, 'the token has expired');
        else this.#expireAt(at);
      },
      Math.max(0, wait),
    );
    this.#expiry.unref();
  }

  #say(message: LiveMessage): void {
    this.#viewer.send(JSON.stringify(message));
  }
}
