import type { IncomingMessage } from 'node:http';
import { WebSocketGateway, type OnGatewayConnection, type OnGatewayInit } from '@nestjs/websockets';
import { chooseSubprotocol, CLOSE, versionAdvice } from '@impgem/protocol';
import type { VerifyClientCallbackAsync, WebSocket, WebSocketServer } from 'ws';
import { bearer, parseToken, secretMatches } from '../access/index.js';
import { Database, Lifecycle, LIMITS, logger, MasterConfig } from '../platform/index.js';
import { Sessions } from './sessions.js';
import { findWorker, type WorkerIdentity } from './worker-rows.js';
import { WorkerSession } from './worker-session.js';

const PATH = '/api/v1/worker';

const log = logger('workers');

type Refusal = { status: number; message: string };

/**
 * The worker socket. The credential is checked at the upgrade, before any frame: who has none gets 401. Who the
 * worker is comes from that credential alone, never from a message.
 */
@WebSocketGateway({ path: PATH, perMessageDeflate: false, maxPayload: LIMITS.frameBytes })
export class WorkerGateway implements OnGatewayInit, OnGatewayConnection {
  readonly #identities = new WeakMap<IncomingMessage, WorkerIdentity>();

  constructor(
    private readonly sessions: Sessions,
    private readonly db: Database,
    private readonly config: MasterConfig,
    private readonly lifecycle: Lifecycle,
  ) {}

  /** The decorator knows neither the instance nor the configuration. */
  afterInit(server: WebSocketServer): void {
    const { options } = server;
    options.maxPayload = this.config.limits.frameBytes;
    options.verifyClient = (info, done) => void this.#answer(info.req, done);
    // A client whose offer is not taken up gives up without a word: take any, and close with the advice.
    options.handleProtocols = (offered) => chooseSubprotocol(offered) ?? [...offered][0] ?? false;
  }

  handleConnection(socket: WebSocket, request: IncomingMessage): void {
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(/ *, */);
    if (chooseSubprotocol(offered) === undefined) {
      this.sessions.closed(CLOSE.version);
      socket.on('error', (err) => log.info({ err }, 'worker socket failed'));
      socket.close(CLOSE.version, versionAdvice(offered));
      return;
    }
    const identity = this.#identities.get(request);
    if (!identity) return socket.terminate();
    const before = new Set(socket.listeners('message'));
    this.sessions.add(new WorkerSession(socket, identity, this.sessions));
    const mine = socket.listeners('message').filter((listener) => !before.has(listener));
    // The framework's own listener would wrap every frame in an event that nobody reads.
    queueMicrotask(() => {
      for (const listener of socket.listeners('message'))
        if (!mine.includes(listener)) socket.off('message', listener as () => void);
    });
  }

  async #answer(
    request: IncomingMessage,
    done: Parameters<VerifyClientCallbackAsync>[1],
  ): Promise<void> {
    const refusal = await this.#verify(request);
    if (refusal) done(false, refusal.status, refusal.message);
    else done(true);
  }

  /** Why the upgrade is refused; absent when it is not. Never rejects. */
  async #verify(request: IncomingMessage): Promise<Refusal | undefined> {
    if (this.lifecycle.state === 'stopping') return { status: 503, message: 'stopping' };
    if (this.sessions.count >= this.config.limits.workerConnections)
      return { status: 503, message: 'too many workers' };
    const token = parseToken('igw', bearer(request.headers.authorization));
    if (!token) return UNAUTHENTICATED;
    try {
      const id = token.id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
      const worker = id.length === 36 ? await findWorker(this.db, id) : undefined;
      if (!worker || !secretMatches(token.secret, worker.hash)) return UNAUTHENTICATED;
      // One worker must not take the places of all.
      if (this.sessions.isCrowded(worker.id))
        return { status: 503, message: 'too many connections of this worker' };
      this.#identities.set(request, worker);
      return undefined;
    } catch (error) {
      log.warn({ err: error }, 'cannot check a worker credential');
      return { status: 503, message: 'the database does not answer' };
    }
  }
}

const UNAUTHENTICATED: Refusal = { status: 401, message: 'no valid worker token' };
