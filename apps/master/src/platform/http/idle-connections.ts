import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';

const LOOK_EVERY_MS = 50;

/**
 * Closes what waits for nothing once the server takes no more connections. Node's own `close` leaves two kinds: those
 * whose answer was under way at that moment (they stay open for a next question), and those on which nobody has asked
 * anything yet (browsers open some in advance). Call it before the server listens; the returned function begins, and
 * returns what ends it.
 */
export function idleConnections(server: Server): () => () => void {
  const silent = new Set<Socket>();
  server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => {
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  });
  const asked = ({ socket }: { socket: Socket }) => silent.delete(socket);
  server.on('request', asked);
  server.on('upgrade', asked);
  return () => {
    const timer = setInterval(() => {
      if (server.listening) return;
      server.closeIdleConnections();
      for (const socket of silent) socket.destroy();
    }, LOOK_EVERY_MS);
    return () => clearInterval(timer);
  };
}
