import type { IncomingMessage, Server } from 'node:http';
import { gatherWrites } from '@impgem/kit';
import type { INestApplicationContext } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import type { WebSocket, WebSocketServer } from 'ws';
import { logger } from '../logging.js';
import { type Door, type UpgradeLimits, Upgrades } from './upgrades.js';
import { closeSocket, shielded } from './web-sockets.js';

const log = logger('platform');

/** RFC 6455's "going away", and IANA's "service restart", which tells workers to come back within seconds. */
const GOING_AWAY = 1001;
const RESTART = 1012;

/**
 * Gateways get raw sockets (`handleConnection(socket, request)`): no message is parsed here, binary ones least
 * of all. At the master's end sockets are closed with a code and not just cut.
 */
export class FarmWsAdapter extends WsAdapter {
  readonly #upgrades: Upgrades[] = [];

  constructor(
    app: INestApplicationContext,
    private readonly limits: UpgradeLimits,
  ) {
    super(app, { messageParser: () => undefined });
  }

  /** Frames of one turn go out together: the acknowledgements of a commit, what a pass reads for a viewer. */
  override bindClientConnect(
    server: WebSocketServer,
    callback: (socket: WebSocket, request: IncomingMessage) => void,
  ): void {
    server.on('connection', (socket, request) => {
      // Gateways listen too; what comes before they do, and when they refuse, ends here.
      socket.on('error', (err) => log.debug({ err }, 'a WebSocket failed'));
      gatherWrites(request.socket, process.nextTick);
      shielded(socket, callback)(socket, request);
    });
  }

  override async close(server: WebSocketServer): Promise<void> {
    const code = String(server.path).endsWith('/worker') ? RESTART : GOING_AWAY;
    await Promise.all(
      [...server.clients].map((socket) => closeSocket(socket, code, 'the master stops')),
    );
    await super.close(server);
  }

  override async dispose(): Promise<void> {
    for (const upgrades of this.#upgrades) upgrades.end();
    await super.dispose();
  }

  /** In place of the framework's own listener, which gives a raw socket neither an error listener nor an end. */
  protected override ensureHttpServerExists(port: number, server?: Server): Server | undefined {
    if (!server) throw new Error('gateways share the port of HTTP');
    if (this.httpServersRegistry.has(port)) return undefined;
    this.httpServersRegistry.set(port, server);
    const doors = () => (this.wsServersRegistry.get(port) ?? []) as Door[];
    const upgrades = new Upgrades(doors, this.limits);
    this.#upgrades.push(upgrades);
    server.on('upgrade', (request, socket, head) => upgrades.take(request, socket, head));
    return server;
  }

  /** The framework would log each broken frame of anybody as an error of the program. */
  override bindErrorHandler(server: WebSocketServer): WebSocketServer {
    return server.on('error', (err) => log.error({ err }, 'a server of WebSockets failed'));
  }
}
