/**
 * The live socket. Subscriptions outlive connections: after a cut each one is made anew from where it was, an
 * event id or a byte offset, so that nothing is missed and nothing comes twice. A connection that has gone silent
 * is found out by asking, since a browser does not see pings.
 */
import { fullJitter } from '@impgem/kit';
import type { FarmEvent, LiveMessage, LiveRequest, StreamName } from './api.js';
import {
  host,
  type Socket,
  type SocketClass,
  type SocketClose,
  type SocketMessage,
} from './host.js';
import { PROBLEM_CODES, type ProblemCode } from './problem-codes.js';
import { ProblemError } from './problem-error.js';

export interface LiveOptions {
  /** The master's address, as for `createClient`; `http` or `https`. */
  url: string;
  /** Sent as a header, which only `ws` can do; a page has its cookie. */
  token?: string;
  /** `globalThis.WebSocket` unless given. */
  WebSocket?: SocketClass;
  /** Told when the connection comes and goes. `waiting`: it is gone, and tried again. */
  onState?: (state: LiveState) => void;
  /** The master will not have us (no valid token): the socket is closed for good. */
  onRefused?: (error: ProblemError) => void;
  /** Milliseconds of silence after which the master is asked for a sign of life, and as long again to give it. */
  silenceMs?: number;
  /** Wait before the n-th try, in milliseconds. */
  backoffMs?: (attempt: number) => number;
}
export type LiveState = 'connecting' | 'open' | 'waiting' | 'closed';

export type LogPiece = Pick<
  Extract<LiveMessage, { type: 'log' }>,
  'step' | 'offset' | 'length' | 'at' | 'text'
> & { stream: StreamName };

export interface EventHandlers {
  event(event: FarmEvent): void;
  /** From here on nothing is missed; also after each reconnect. */
  subscribed?(): void;
  error?(error: ProblemError): void;
}
export interface LogHandlers {
  piece(piece: LogPiece): void;
  /** The log is complete; the subscription is over. */
  end?(bytes: number): void;
  error?(error: ProblemError): void;
}
export interface Subscription {
  close(): void;
}
export interface Live {
  readonly state: LiveState;
  /** Events of one build or of the farm, after an event id or from now on. */
  events(of: { build?: number; after?: string }, handlers: EventHandlers): Subscription;
  /** The log of a step, from a byte offset or from its start; with what is there already. */
  log(of: { build: number; step: number; offset?: number }, handlers: LogHandlers): Subscription;
  /**
   * Reads no more until `resume`, for a consumer that is slower than the log; the master waits. Only with `ws`,
   * since a browser cannot. What was received already still comes.
   */
  pause(): void;
  resume(): void;
  close(): void;
}

const SILENCE_MS = 20_000;
const OPEN = 1;
/** The master says with these that trying again is in vain. */
const FINAL_CLOSES: Record<number, ProblemCode> = {
  1008: 'unauthenticated',
  4401: 'unauthenticated',
  4403: 'token-revoked',
};

/** Connects at once, and for ever until `close`. */
export function openLive(options: LiveOptions): Live {
  return new LiveSocket(options);
}

interface Entry {
  /** How to ask for it from where it is. */
  request(id: string): LiveRequest;
  handle(message: LiveMessage): void;
  fail(error: ProblemError): void;
}

class LiveSocket implements Live {
  state: LiveState = 'connecting';
  #socket: Socket | undefined;
  #timer: unknown;
  #attempt = 0;
  #lastId = 0;
  /** By the id on the present connection. */
  #entries = new Map<string, Entry>();
  #greeted = false;
  #asked = false;
  #paused = false;

  constructor(readonly options: LiveOptions) {
    this.#connect();
  }

  events(of: { build?: number; after?: string }, handlers: EventHandlers): Subscription {
    let { after } = of;
    const build = of.build === undefined ? {} : { build: of.build };
    return this.#add({
      request: (id) => ({
        type: 'subscribe',
        id,
        topic: 'events',
        ...build,
        ...(after === undefined ? {} : { after }),
      }),
      handle: (message) => {
        if (message.type === 'subscribed') {
          after ??= message.after;
          handlers.subscribed?.();
        } else if (message.type === 'event' && message.event.id !== after) {
          after = message.event.id;
          handlers.event(message.event);
        }
      },
      fail: (error) => handlers.error?.(error),
    });
  }

  log(
    { build, step, offset = 0 }: { build: number; step: number; offset?: number },
    handlers: LogHandlers,
  ): Subscription {
    let next = offset;
    const entry: Entry = {
      request: (id) => ({ type: 'subscribe', id, topic: 'log', build, step, offset: next }),
      handle: (message) => {
        if (message.type === 'log.end') {
          if (message.bytes > next) return this.#again(entry);
          this.#remove(entry, true);
          handlers.end?.(message.bytes);
        } else if (message.type === 'log') {
          const { offset: from, length } = message;
          if (from + length <= next && length > 0) return;
          // Should not be; the offset decides, so ask again for what comes next.
          if (from !== next) return this.#again(entry);
          next = from + length;
          const { stream, at, text } = message;
          handlers.piece({ step, stream, offset: from, length, at, text });
        }
      },
      fail: (error) => handlers.error?.(error),
    };
    return this.#add(entry);
  }

  pause(): void {
    if (!this.#socket?.pause) return;
    this.#paused = true;
    this.#socket.pause();
    // Silence says nothing while nobody listens.
    host.clearTimeout(this.#timer);
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume?.();
    if (this.#socket) this.#watch();
  }

  close(): void {
    this.#entries.clear();
    this.#become('closed');
    this.#drop();
  }

  #add(entry: Entry): Subscription {
    const id = this.#name(entry);
    if (this.#greeted) this.#send(entry.request(id));
    return { close: () => this.#remove(entry) };
  }

  #name(entry: Entry): string {
    const id = String(++this.#lastId);
    this.#entries.set(id, entry);
    return id;
  }

  #remove(entry: Entry, over = false): void {
    for (const [id, other] of this.#entries)
      if (other === entry) {
        this.#entries.delete(id);
        if (this.#greeted && !over) this.#send({ type: 'unsubscribe', id });
      }
  }

  /** Under a new id, so that what is still under way for the old one falls away. */
  #again(entry: Entry): void {
    this.#remove(entry);
    this.#add(entry);
  }

  #send(request: LiveRequest): void {
    // One that is closing takes nothing any more, and browsers complain; its close is heard in a moment.
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(request));
  }

  #connect(): void {
    const { url, token, WebSocket = host.WebSocket } = this.options;
    if (!WebSocket) throw new TypeError('there is no WebSocket here; give one to openLive');
    this.#become('connecting');
    const address = `${url.replace(/^http/, 'ws').replace(/\/+$/, '')}/api/v1/live`;
    const socket = token
      ? new WebSocket(address, [], { headers: { authorization: `Bearer ${token}` } })
      : new WebSocket(address, []);
    this.#socket = socket;
    this.#watch();
    let refused: ProblemError | undefined;
    // Nothing is heard of a connection that was let go.
    const hear = <E>(type: string, listener: (event: E) => void) =>
      socket.addEventListener(type, (event) => {
        if (this.#socket === socket) listener(event as E);
      });
    hear('message', ({ data }: SocketMessage) => this.#receive(data));
    // `ws` says in this text why the upgrade failed; a browser says nothing.
    hear('error', ({ message }: { message?: string }) => {
      const status = Number(/Unexpected server response: (40[13])/.exec(message ?? '')?.[1]);
      if (status === 401) refused = new ProblemError('unauthenticated', status, UNAUTHENTICATED);
      if (status === 403) refused = new ProblemError('forbidden', status, FORBIDDEN);
    });
    hear('close', ({ code, reason }: SocketClose) => {
      const final = FINAL_CLOSES[code];
      if (final)
        refused ??= new ProblemError(final, PROBLEM_CODES[final].status, reason || UNAUTHENTICATED);
      this.#lost(refused);
    });
  }

  #receive(data: unknown): void {
    this.#watch();
    let message: LiveMessage;
    try {
      message = JSON.parse(String(data)) as LiveMessage;
    } catch {
      return this.#lost();
    }
    if (typeof message !== 'object' || message === null) return this.#lost();
    if (message.type === 'hello') {
      this.#greeted = true;
      this.#attempt = 0;
      this.#become('open');
      const entries = [...this.#entries.values()];
      this.#entries.clear();
      for (const entry of entries) this.#add(entry);
      return;
    }
    if (message.id === null || !('id' in message)) return;
    const entry = this.#entries.get(message.id);
    if (message.type !== 'error') return entry?.handle(message);
    const { status } = PROBLEM_CODES[message.code] ?? PROBLEM_CODES.internal;
    // The master or its database will be back.
    if (status === 503) return this.#lost();
    this.#entries.delete(message.id);
    entry?.fail(new ProblemError(message.code, status, message.detail));
  }

  /** Every message starts the wait for the next one anew. */
  #watch(): void {
    host.clearTimeout(this.#timer);
    this.#asked = false;
    if (!this.#paused) this.#arm();
  }

  #arm(): void {
    this.#timer = host.setTimeout(() => {
      if (this.#asked || !this.#greeted) return this.#lost();
      this.#asked = true;
      // Any answer will do, and this one is always answered.
      this.#send({ type: 'unsubscribe', id: 'alive' });
      this.#arm();
    }, this.options.silenceMs ?? SILENCE_MS);
  }

  #lost(refused?: ProblemError): void {
    this.#drop();
    if (refused) {
      this.#become('closed');
      this.options.onRefused?.(refused);
      return;
    }
    this.#become('waiting');
    const wait =
      this.options.backoffMs ?? ((n: number) => fullJitter(n, { baseMs: 500, capMs: 10_000 }));
    this.#timer = host.setTimeout(() => this.#connect(), wait(this.#attempt++));
  }

  /** Lets go of the connection; nothing of it is heard any more. */
  #drop(): void {
    host.clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#greeted = false;
    this.#paused = false;
    if (!socket) return;
    if (socket.terminate && this.state !== 'closed') socket.terminate();
    else socket.close();
  }

  #become(state: LiveState): void {
    if (this.state === state && state !== 'connecting') return;
    this.state = state;
    this.options.onState?.(state);
  }
}

const FORBIDDEN = 'the token lacks the scope read, or the origin is not allowed';
const UNAUTHENTICATED = 'the master knows no such token, or it has expired or was revoked';
