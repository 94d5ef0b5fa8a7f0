/**
 * Many idle workers in one process: each speaks the protocol by the very state machine of real ones, and has
 * nothing behind it. Bounded: it ends with whoever asked, and opens what it was asked for and no more.
 */
import {
  decideWorker,
  initialWorkerState,
  masterCodec,
  subprotocol,
  workerCodec,
  type TimerName,
  type WorkerCommand,
  type WorkerEvent,
  type WorkerMessage,
  type WorkerState,
} from '@impgem/protocol';
import { WebSocket } from 'ws';
import { wireHello } from './wire-worker.js';

/** `join`: connect all; `cut`: end all connections at once. */
export type FleetOrder = { order: 'join'; url: string; tokens: string[] } | { order: 'cut' };

export type FleetTell =
  | { told: 'joined'; seconds: number }
  | { told: 'back'; seconds: number }
  | { told: 'failed'; why: string };

/** Connecting at once, at first. */
const JOINING = 200;

const tell = (message: FleetTell) => process.send?.(message);

class IdleWorker {
  #state: WorkerState = initialWorkerState(wireHello(1));
  readonly #timers = new Map<TimerName, NodeJS.Timeout>();
  #socket: WebSocket | undefined;

  constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly onOnline: () => void,
  ) {}

  dispatch(event: WorkerEvent): void {
    const chance = { now: performance.now(), random: Math.random() };
    const { state, commands } = decideWorker(this.#state, event, chance);
    this.#state = state;
    for (const command of commands) this.#perform(command);
  }

  cut(): void {
    this.#socket?.terminate();
  }

  #perform(command: WorkerCommand): void {
    switch (command.type) {
      case 'connect':
        return this.#connect(command.connection);
      case 'close':
        return this.#socket?.close(command.code, command.reason);
      case 'send':
        return this.#send(command.message);
      case 'heartbeat':
        this.#send({ type: 'heartbeat', running: command.running, diskFree: 1e9 });
        return this.#socket?.ping();
      case 'timer': {
        clearTimeout(this.#timers.get(command.name));
        const timer = () => this.dispatch({ type: 'timer', name: command.name });
        return void this.#timers.set(command.name, setTimeout(timer, command.inMs));
      }
      case 'timer.clear':
        return clearTimeout(this.#timers.get(command.name));
      case 'online':
        return this.onOnline();
      case 'offline':
        return;
      default:
        // nothing is ever assigned to it
        tell({ told: 'failed', why: JSON.stringify(command) });
    }
  }

  #connect(connection: number): void {
    const socket = (this.#socket = new WebSocket(`${this.url}/api/v1/worker`, [subprotocol()], {
      headers: { authorization: `Bearer ${this.token}` },
      perMessageDeflate: false,
    }));
    socket.on('open', () => this.dispatch({ type: 'connected', connection }));
    for (const sign of ['ping', 'pong'] as const)
      socket.on(sign, () => this.dispatch({ type: 'heard', connection }));
    socket.on('message', (data: Buffer) => {
      const message = masterCodec.parse(data.toString());
      this.dispatch({ type: 'received', connection, message });
    });
    // `close` follows
    socket.on('error', () => undefined);
    socket.on('close', (code, reason) =>
      this.dispatch({ type: 'closed', connection, code, reason: reason.toString() }),
    );
  }

  #send(message: WorkerMessage): void {
    this.#socket?.send(workerCodec.stringify(message));
  }
}

class Fleet {
  readonly #workers: IdleWorker[] = [];
  #online = 0;
  #since = performance.now();
  #waiting: IdleWorker[] = [];
  #news: 'joined' | 'back' = 'joined';

  take(order: FleetOrder): void {
    this.#since = performance.now();
    if (order.order === 'cut') {
      this.#news = 'back';
      this.#online = 0;
      for (const worker of this.#workers) worker.cut();
      return;
    }
    const url = order.url.replace('http', 'ws');
    for (const token of order.tokens)
      this.#workers.push(new IdleWorker(url, token, () => this.#joined()));
    this.#waiting = [...this.#workers];
    for (let n = 0; n < JOINING; n++) this.#next();
  }

  #joined(): void {
    this.#online += 1;
    this.#next();
    if (this.#online < this.#workers.length) return;
    tell({ told: this.#news, seconds: (performance.now() - this.#since) / 1000 });
  }

  #next(): void {
    this.#waiting.pop()?.dispatch({ type: 'start' });
  }
}

const fleet = new Fleet();
process.on('message', (order: FleetOrder) => fleet.take(order));
process.once('disconnect', () => process.exit());
