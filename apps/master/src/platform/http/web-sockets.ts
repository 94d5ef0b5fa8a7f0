/** How every WebSocket of the master is closed, and how what its listeners throw is kept to it. */
import { closeReason } from '@impgem/kit';
import type { WebSocket } from 'ws';
import { logger } from '../logging.js';

const log = logger('platform');

/** How long a peer has to answer our close before it is cut off. */
export const CLOSE_MS = 2000;
/** RFC 6455's "an unexpected condition". */
const INTERNAL = 1011;

/**
 * Closes a WebSocket: the reason is cut to what a close frame carries, and a peer that does not answer in time is cut
 * off. Does not throw, whatever the state of the socket or the text. Resolves when it is closed.
 */
export function closeSocket(socket: WebSocket, code: number, reason: string): Promise<void> {
  return new Promise((resolve) => {
    if (socket.readyState === socket.CLOSED) return resolve();
    const timer = setTimeout(() => socket.terminate(), CLOSE_MS);
    timer.unref();
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    // The peer's answer must be read.
    socket.resume();
    socket.close(code, closeReason(reason));
  });
}

/**
 * The function for a framework or a socket to call: what it throws is a bug of ours that costs this connection, and
 * not the process with all other connections.
 */
export function shielded<Args extends unknown[]>(
  socket: WebSocket,
  run: (...args: Args) => void,
): (...args: Args) => void {
  return (...args) => {
    try {
      run(...args);
    } catch (err) {
      log.error({ err }, 'a socket is closed: its listener failed');
      void closeSocket(socket, INTERNAL, 'the master met an error of its own');
    }
  };
}
