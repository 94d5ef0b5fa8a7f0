/**
 * Upgrades, from the HTTP parser to a WebSocket. Each has an error listener from the start (`ownErrors`) and a deadline; what
 * asks for nothing that is here gets an answer and is gone.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { STATUS_CODES } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { FarmError, slices } from '@impgem/kit';
import type { WebSocket, WebSocketServer } from 'ws';
import { Counter } from 'prom-client';
import { logger } from '../logging.js';
import { limitHits } from '../metrics/limit-hits.js';
import { answerOf, PROBLEM_TYPE } from './problem.js';

const log = logger('platform');

/** How long a refusal may take to reach the peer. */
const ANSWER_MS = 2000;

const refused = new Counter({
  name: 'impgem_upgrades_refused_total',
  help: 'Upgrades of connections that were refused before anybody was asked for a token, by code',
  labelNames: ['code'],
});

/** The part of a WebSocket's server that takes an upgrade. */
export type Door = Pick<WebSocketServer, 'path' | 'handleUpgrade' | 'emit'>;

export interface UpgradeLimits {
  /** Until it is a WebSocket. */
  upgradeMs: number;
  /** That wait at once. */
  upgrades: number;
}

/** One server's upgrades. `doors` are looked up at each, since they are added while the application starts. */
export class Upgrades {
  /** Those that are no WebSockets yet. */
  readonly #waiting = new Set<Duplex>();
  /** Those that came since the last turn of the event loop. */
  readonly #arrived: (() => void)[] = [];
  #isHandling = false;
  #over = false;

  constructor(
    private readonly doors: () => readonly Door[],
    private readonly limits: UpgradeLimits,
  ) {}

  /** The listener of `upgrade`. Does not throw. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (this.#over) return void socket.destroy();
    this.#waiting.add(socket);
    // Whoever answers, and whether the peer reads it or not: by then it is a WebSocket or it is gone.
    const deadline = setTimeout(() => {
      this.#refuse(socket, new FarmError('overloaded', 'the upgrade took too long; try again'));
    }, this.limits.upgradeMs);
    const settled = () => {
      clearTimeout(deadline);
      this.#waiting.delete(socket);
    };
    socket.once('close', settled);
    if (this.#waiting.size > this.limits.upgrades) {
      limitHits.inc({ limit: 'upgrades' });
      const why = 'too many upgrades wait; try again later';
      this.#refuse(socket, new FarmError('overloaded', why));
      return;
    }
    this.#arrived.push(() => {
      if (!socket.destroyed) this.#open(request, socket, head, settled);
    });
    this.#handleArrived().catch((err: unknown) => log.error({ err }, 'cannot take upgrades'));
  }

  /** In slices: of a crowd that comes at once, everything else waits for a few only. */
  async #handleArrived(): Promise<void> {
    if (this.#isHandling) return;
    this.#isHandling = true;
    const pause = slices(
      () => performance.now(),
      () => setImmediate(),
    );
    try {
      for (let next = this.#arrived.shift(); next; next = this.#arrived.shift()) {
        next();
        await pause();
      }
    } finally {
      this.#isHandling = false;
    }
  }

  #open(request: IncomingMessage, socket: Duplex, head: Buffer, settled: () => void): void {
    try {
      const door = this.#doorOf(request);
      door.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
        settled();
        door.emit('connection', webSocket, request);
      });
    } catch (error) {
      this.#refuse(socket, error);
    }
  }

  /** Ends those that wait, and takes no more. */
  end(): void {
    this.#over = true;
    for (const socket of this.#waiting) socket.destroy();
  }

  #doorOf({ url = '', headers }: IncomingMessage): Door {
    const { host = '' } = headers;
    const base = `http://${host}/`;
    if (!URL.canParse(base) || !URL.canParse(url, base))
      throw new FarmError('invalid-request', 'the address or the Host header cannot be read');
    const { pathname } = new URL(url, base);
    const door = this.doors().find(({ path }) => path === pathname);
    if (!door) throw new FarmError('not-found', 'no WebSocket is served at this address');
    return door;
  }

  #refuse(socket: Duplex, error: unknown): void {
    const { problem, headers, unexpected } = answerOf(error);
    if (unexpected) log.error({ err: error }, 'an upgrade failed');
    refused.inc({ code: problem.code });
    if (socket.destroyed || !socket.writable) return void socket.destroy();
    const body = JSON.stringify(problem);
    const lines = Object.entries({
      connection: 'close',
      'content-type': PROBLEM_TYPE,
      'content-length': String(Buffer.byteLength(body)),
      ...headers,
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    const { status } = problem;
    const timer = setTimeout(() => socket.destroy(), ANSWER_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.once('finish', () => socket.destroy());
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
  }
}
