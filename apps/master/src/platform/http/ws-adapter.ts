import type { IncomingMessage } from 'node:http';
import { gatherWrites } from '@impgem/kit';
import type { INestApplicationContext } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import type { WebSocket, WebSocketServer } from 'ws';

/** How long peers have to answer our close. */
const CLOSE_MS = 2000;
/** RFC 6455's "going away", and IANA's "service restart", which tells workers to come back within seconds. */
const GOING_AWAY = 1001;
const RESTART = 1012;

/**
 * Gateways get raw sockets (`handleConnection(socket, request)`): no message is parsed here, binary ones least
 * of all. At the master's end sockets are closed with a code and not just cut.
 */
export class FarmWsAdapter extends WsAdapter {
  constructor(app: INestApplicationContext) {
    super(app, { messageParser: () => undefined });
  }

  /** Frames of one turn go out together: the acknowledgements of a commit, what a pass reads for a viewer. */
  override bindClientConnect(
    server: WebSocketServer,
    callback: (socket: WebSocket, request: IncomingMessage) => void,
  ): void {
    server.on('connection', (socket, request) => {
      gatherWrites(request.socket, process.nextTick);
      callback(socket, request);
    });
  }

  override async close(server: WebSocketServer): Promise<void> {
    const code = String(server.path).endsWith('/worker') ? RESTART : GOING_AWAY;
    await Promise.all([...server.clients].map((socket) => leave(socket, code)));
    await super.close(server);
  }
}

function leave(socket: WebSocket, code: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, CLOSE_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    if (socket.readyState === socket.CLOSED) resolve();
    else socket.close(code, 'the master stops');
  });
}
