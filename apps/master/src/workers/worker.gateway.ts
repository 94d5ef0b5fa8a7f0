import type { IncomingMessage } from 'node:http';
import { WebSocketGateway, type OnGatewayConnection, type OnGatewayInit } from '@nestjs/websockets';
import { FarmError } from '@impgem/kit';
import { chooseSubprotocol, CLOSE, masterLimits, versionAdvice } from '@impgem/protocol';
import type { WebSocket, WebSocketServer } from 'ws';
import { bearer, parseToken, Places, secretMatches, TokenThrottle } from '../access/index.js';
import {
  admitUpgrade,
  clientAddress,
  closeSocket,
  Database,
  keepPlace,
  Lifecycle,
  LIMITS,
  logger,
  MasterConfig,
  shielded,
  type Trust,
  trustOf,
} from '../platform/index.js';
import { Sessions } from './sessions.js';
import { WorkerFinder } from './worker-finder.js';
import type { WorkerIdentity } from './worker-rows.js';
import { WorkerSession } from './worker-session.js';

const PATH = '/api/v1/worker';

const log = logger('workers');

/**
 * The worker socket. The credential is checked at the upgrade, before any frame: who has none gets 401. Who the
 * worker is comes from that credential alone, never from a message.
 */
@WebSocketGateway({ path: PATH, perMessageDeflate: false, maxPayload: LIMITS.frameBytes })
export class WorkerGateway implements OnGatewayInit, OnGatewayConnection {
  readonly #identities = new WeakMap<IncomingMessage, WorkerIdentity>();
  readonly #workers: WorkerFinder;
  readonly #trust: Trust;

  constructor(
    private readonly sessions: Sessions,
    db: Database,
    private readonly config: MasterConfig,
    private readonly lifecycle: Lifecycle,
    private readonly places: Places,
    private readonly throttle: TokenThrottle,
  ) {
    this.#trust = trustOf(config.trustProxy);
    this.#workers = new WorkerFinder(db);
  }

  /** The decorator knows neither the instance nor the configuration. */
  afterInit(server: WebSocketServer): void {
    const { options } = server;
    options.maxPayload = this.config.limits.frameBytes;
    options.verifyClient = admitUpgrade((request) => this.#admit(request));
    // A client whose offer is not taken up gives up without a word: take any, and close with the advice.
    options.handleProtocols = (offered) => chooseSubprotocol(offered) ?? [...offered][0] ?? false;
  }

  handleConnection(socket: WebSocket, request: IncomingMessage): void {
    shielded(socket, () => this.#connect(socket, request))();
  }

  #connect(socket: WebSocket, request: IncomingMessage): void {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(/ *, */);
    if (chooseSubprotocol(offered) === undefined) {
      this.sessions.closed(CLOSE.version);
      socket.on('error', (err) => log.info({ err }, 'worker socket failed'));
      void closeSocket(socket, CLOSE.version, versionAdvice(offered));
      return;
    }
    const identity = this.#identities.get(request);
    if (!identity) return socket.terminate();
    const before = new Set(socket.listeners('message'));
    const limits = masterLimits(this.config.heartbeatMs);
    this.sessions.add(new WorkerSession(socket, identity, this.sessions, limits));
    const mine = socket.listeners('message').filter((listener) => !before.has(listener));
    // The framework's own listener would wrap every frame in an event that nobody reads.
    queueMicrotask(() => {
      for (const listener of socket.listeners('message'))
        if (!mine.includes(listener)) socket.off('message', listener as () => void);
    });
  }

  /** Rejects with a `FarmError` that says why the upgrade is refused. */
  async #admit(request: IncomingMessage): Promise<void> {
    if (this.lifecycle.state === 'stopping')
      throw new FarmError('stopping', 'the master is about to stop');
    this.places.check('workers');
    const worker = await this.throttle.knock(
      clientAddress(request, this.#trust),
      bearer(request.headers.authorization),
      () => this.#authenticate(request),
    );
    keepPlace(request, this.places.take('workers', worker.id));
    this.#identities.set(request, worker);
  }

  async #authenticate(request: IncomingMessage): Promise<WorkerIdentity> {
    const token = parseToken('igw', bearer(request.headers.authorization));
    const id = token?.id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
    const worker = id?.length === 36 ? await this.#workers.find(id) : undefined;
    if (!token || !worker || !secretMatches(token.secret, worker.hash))
      throw new FarmError('unauthenticated', 'no valid worker token');
    if (worker.revoked)
      throw new FarmError('token-revoked', `the worker ${worker.name} was revoked`);
    return worker;
  }
}
