import type { IncomingMessage } from 'node:http';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { type OnGatewayConnection, type OnGatewayInit, WebSocketGateway } from '@nestjs/websockets';
import { FarmError } from '@impgem/kit';
import type { WebSocket, WebSocketServer } from 'ws';
import { Access, bearer, type Caller, Places, TokenThrottle } from '../access/index.js';
import {
  admitUpgrade,
  clientAddress,
  keepPlace,
  logger,
  MasterConfig,
  shielded,
  type Trust,
  trustOf,
} from '../platform/index.js';
import { LiveHub } from './hub.js';
import { LiveSession } from './session.js';
import { LiveShares } from './shares.js';
import { liveErrors, openSockets } from './viewer.js';

const log = logger('live');
const PING_MS = 20_000;
/** A request is small; what is bigger is no request. */
const MAX_REQUEST_BYTES = 4 * 1024;
const GOING_AWAY = 1001;
/** A policy violation, of RFC 6455: the token ended. */
const REVOKED = 1008;

/**
 * `/api/v1/live`: who watches, over JSON. A token (header) or the page's session (cookie and Origin) is asked for
 * at the upgrade, so that nobody without one gets a socket; and again whenever something was revoked.
 */
@WebSocketGateway({
  path: '/api/v1/live',
  perMessageDeflate: false,
  maxPayload: MAX_REQUEST_BYTES,
})
export class LiveGateway
  implements OnGatewayInit, OnGatewayConnection, OnApplicationBootstrap, BeforeApplicationShutdown
{
  readonly #callers = new WeakMap<IncomingMessage, Caller>();
  readonly #sessions = new Map<WebSocket, LiveSession>();
  #ping: NodeJS.Timeout | undefined;
  #unwatch: (() => void) | undefined;
  #stopping = false;
  readonly #trust: Trust;

  constructor(
    private readonly access: Access,
    private readonly config: MasterConfig,
    private readonly hub: LiveHub,
    private readonly places: Places,
    private readonly shares: LiveShares,
    private readonly throttle: TokenThrottle,
  ) {
    this.#trust = trustOf(config.trustProxy);
  }

  /** Nest takes options only where the class is declared; the server reads this one at each upgrade. */
  afterInit(server: WebSocketServer): void {
    server.options.verifyClient = admitUpgrade(
      (request) => this.#admit(request),
      (code) => liveErrors.inc({ code }),
    );
  }

  onApplicationBootstrap(): void {
    this.#unwatch = this.access.onRevoked(() => settle(this.#dropRevoked()));
    this.#ping = setInterval(() => {
      for (const session of this.#sessions.values()) session.ping();
    }, PING_MS);
    this.#ping.unref();
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#ping);
    this.#unwatch?.();
    for (const session of this.#sessions.values()) session.close(GOING_AWAY, 'the master stops');
    await this.hub.stop();
  }

  handleConnection(socket: WebSocket, request: IncomingMessage): void {
    shielded(socket, () => this.#connect(socket, request))();
  }

  #connect(socket: WebSocket, request: IncomingMessage): void {
    const caller = this.#callers.get(request);
    if (!caller) {
      socket.terminate();
      return;
    }
    const { limits } = this.config;
    const shares = this.shares.of(caller.tokenId, () => this.#sessions.size);
    const session = new LiveSession(socket, caller, this.hub, limits, shares);
    this.#sessions.set(socket, session);
    openSockets.set(this.#sessions.size);
    // What was revoked between the upgrade and here, `#dropRevoked` has passed over.
    settle(this.#drop(session, this.#isCurrent(caller)));
    socket.once('close', () => {
      this.#sessions.delete(socket);
      openSockets.set(this.#sessions.size);
    });
  }

  async #admit(request: IncomingMessage): Promise<void> {
    if (this.#stopping) throw new FarmError('stopping', 'the master is about to stop');
    this.places.check('live');
    const caller = await this.throttle.knock(
      clientAddress(request, this.#trust),
      bearer(request.headers.authorization),
      () => this.access.authenticate(request),
    );
    if (!caller.scopes.includes('read'))
      throw new FarmError('forbidden', `this needs the scope read, which ${caller.actor} lacks`);
    keepPlace(request, this.places.take('live', caller.tokenId));
    this.#callers.set(request, caller);
  }

  async #dropRevoked(): Promise<void> {
    // Many sockets may share a token or a session: each is asked about once.
    const asked = new Map<string, Promise<boolean>>();
    for (const session of this.#sessions.values()) {
      const { tokenId, session: browser } = session.caller;
      const key = `${tokenId} ${browser?.idHash.toString('hex') ?? ''}`;
      const current = asked.get(key) ?? this.#isCurrent(session.caller);
      asked.set(key, current);
      await this.#drop(session, current);
    }
  }

  async #drop(session: LiveSession, isCurrent: Promise<boolean>): Promise<void> {
    if (!(await isCurrent)) session.close(REVOKED, 'the token was revoked or has ended');
  }

  async #isCurrent(caller: Caller): Promise<boolean> {
    return this.access.isCurrent(caller).catch((error: unknown) => {
      // The database is away: it is asked again when that is back.
      log.debug({ err: error }, 'cannot tell whether a live socket may stay');
      return true;
    });
  }
}

function settle(work: Promise<void>): void {
  work.catch((err: unknown) => log.error({ err }, 'cannot look which live sockets may stay'));
}
