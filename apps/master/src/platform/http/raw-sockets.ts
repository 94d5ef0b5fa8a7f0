/**
 * What every connection gets before anything else happens to it. Node takes its own error listener off a socket that leaves
 * the HTTP parser (upgrades), and an error that nobody listens to would end the process.
 */
import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { Server as TlsServer } from 'node:tls';

/** Call it before the server listens. */
export function ownErrors(server: Server): void {
  server.on('connection', own);
  if (server instanceof TlsServer) server.on('secureConnection', own);
}

function own(socket: Duplex): void {
  socket.on('error', () => socket.destroy());
}

/** Of streams and the libraries of HTTP, TLS and WebSockets: what a peer or the network did. */
const OF_PEERS =
  /^(E(CONN(RESET|ABORTED)|PIPE|TIMEDOUT|PROTO|HOSTUNREACH|NETUNREACH)$|HPE_|WS_ERR_|ERR_SSL_|ERR_HTTP_REQUEST_TIMEOUT$)/;

/**
 * Whether an error that nobody took belongs to one connection, which it has ended: then the process may go on. For errors
 * that were thrown; a rejected promise that nobody awaits may have left something half done.
 */
export function isOfConnection(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && OF_PEERS.test(code);
}
