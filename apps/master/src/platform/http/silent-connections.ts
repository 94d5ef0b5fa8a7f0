/**
 * Connections on which nobody has been let in and nothing is being asked: opened in advance, kept for a next question, or
 * held by somebody who sends nothing, or half a header. They have a bound for all, and one for each address.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { limitHits } from '../metrics/limit-hits.js';
import { addressBlock, type Trust } from './client-address.js';

/** So young a connection is left alone: a fleet that comes back at once has not had the time to say who it is. */
const GRACE_MS = 2000;
const LOOK_EVERY_MS = 1000;

interface Silent {
  socket: Socket;
  block: string;
  since: number;
}

export interface SilentLimits {
  connections: number;
  silentConnections: number;
  silentConnectionsPerAddress: number;
}

export class SilentConnections {
  /** By both ends' names, since TLS puts another socket into the place of the first; the longest silent first. */
  readonly #silent = new Map<string, Silent>();

  constructor(
    private readonly limits: SilentLimits,
    private readonly trust: Trust,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Call it before the server listens. */
  watch(server: Server): void {
    server.maxConnections = this.limits.connections;
    server.on('drop', () => limitHits.inc({ limit: 'connections' }));
    server.on('connection', (socket: Socket) => this.#add(socket));
    if (server instanceof TlsServer)
      server.on('secureConnection', (socket: Socket) => this.#add(socket));
    server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
      const { socket } = request;
      const key = keyOf(socket);
      this.#silent.delete(key);
      response.once('close', () => {
        if (!socket.destroyed && !admitted.has(socket)) this.#add(socket);
      });
    });
    // From here on it has a deadline of its own.
    server.prependListener('upgrade', ({ socket }) => this.#silent.delete(keyOf(socket)));
    const timer = setInterval(() => this.look(), LOOK_EVERY_MS);
    timer.unref();
    server.once('close', () => clearInterval(timer));
  }

  get size(): number {
    return this.#silent.size;
  }

  /** Cuts off what is too many, the longest silent first. */
  look(): void {
    const { silentConnections, silentConnectionsPerAddress } = this.limits;
    const counts = new Map<string, number>();
    for (const { block } of this.#silent.values()) counts.set(block, (counts.get(block) ?? 0) + 1);
    let all = this.#silent.size;
    for (const [key, { socket, block, since }] of this.#silent) {
      if (this.now() - since < GRACE_MS) continue;
      const own = counts.get(block) ?? 0;
      const isCrowd = block !== '' && own > silentConnectionsPerAddress;
      if (!isCrowd && all <= silentConnections) continue;
      limitHits.inc({ limit: isCrowd ? 'silentConnectionsPerAddress' : 'silentConnections' });
      counts.set(block, own - 1);
      all -= 1;
      this.#silent.delete(key);
      socket.destroy();
    }
  }

  #add(socket: Socket): void {
    const { remoteAddress = '' } = socket;
    const key = keyOf(socket);
    // Behind a proxy, and on this machine, many share an address.
    const isShared = this.trust(remoteAddress, 0) || /^(::ffff:)?127\.|^::1$/.test(remoteAddress);
    const block = isShared ? '' : addressBlock(remoteAddress);
    this.#silent.delete(key);
    this.#silent.set(key, { socket, block, since: this.now() });
    socket.once('close', () => {
      if (this.#silent.get(key)?.socket === socket) this.#silent.delete(key);
    });
  }
}

const keyOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;

/** Somebody was let in on it. */
const admitted = new WeakSet<object>();

/** From now on this connection is not counted with those of strangers. */
export function markAdmitted({ socket }: IncomingMessage): void {
  admitted.add(socket);
}
