import { closeReason, deferred, gatherWrites, cutText } from '@impgem/kit';
import {
  decideWorker,
  initialWorkerState,
  keyOf,
  masterCodec,
  MessageError,
  workerCodec,
  reasonOf,
  type AttemptRef,
  type ExitWhy,
  type FoundBuild,
  type SentRecord,
  type TimerName,
  type Welcome,
  type WorkerCommand,
  type WorkerEvent,
  type WorkerLimits,
  type WorkerMessage,
  type WorkerState,
} from '@impgem/protocol';
import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import type { RawData, WebSocket } from 'ws';
import type { Builds, Uploads } from '../build/index.js';
import type { JournalRecord } from '../spool/index.js';
import { wayProblem } from './dial.js';
import { Link } from './link.js';
import { sendable, type Vitals } from './vitals.js';

/** A peer that does not answer our close is cut off. */
const CLOSE_MS = 2_000;
/** Of the body of a refused upgrade. */
const REFUSAL_BYTES = 4096;

export interface SessionOrder {
  hello: WorkerState['hello'];
  limits?: WorkerLimits;
  /** Opens a socket to the master. */
  dial: () => WebSocket;
  /** What heartbeats say besides. */
  vitals: () => Vitals;
  uploads: Uploads;
  log: Logger;
}

/** Why the worker's end is over. */
export interface SessionEnd {
  why: ExitWhy;
  message: string;
}

type Pump = Extract<WorkerCommand, { type: 'pump' }>;

/** The shell around the worker machine: feeds it what happens on socket, clock and spool, and does what it says. */
export class Session {
  /** Settles when the machine has stopped for good. */
  readonly ended;
  private readonly over = deferred<SessionEnd>();
  private state: WorkerState;
  private builds: Builds | undefined;
  private readonly events: WorkerEvent[] = [];
  private deciding = false;
  private link: Link | undefined;
  private readonly timers = new Map<TimerName, NodeJS.Timeout>();

  constructor(private readonly order: SessionOrder) {
    this.state = initialWorkerState(order.hello);
    this.ended = this.over.promise;
  }

  /** Begins, with the builds that were found in the spool. */
  start(builds: Builds, found: readonly FoundBuild[]): void {
    this.builds = builds;
    this.state = initialWorkerState(this.order.hello, found, this.order.limits);
    this.dispatch({ type: 'start' });
  }

  /** Something happened. Commands that make it happen again are worked off in turn, not inside each other. */
  dispatch(event: WorkerEvent): void {
    this.events.push(event);
    if (this.deciding) return;
    this.deciding = true;
    try {
      for (let next = this.events.shift(); next; next = this.events.shift()) {
        const chance = { now: performance.now(), random: Math.random() };
        const { state, commands } = decideWorker(this.state, next, chance);
        this.state = state;
        for (const command of commands) this.carryOut(command);
      }
    } finally {
      this.deciding = false;
    }
  }

  /** An error of one connection ends that, and not the process with all its builds. */
  private carryOut(command: WorkerCommand): void {
    try {
      this.perform(command);
    } catch (err) {
      this.order.log.error({ err, command: command.type }, 'an error of the worker; it reconnects');
      this.link?.socket.terminate();
    }
  }

  private perform(command: WorkerCommand): void {
    const { builds, order } = this;
    switch (command.type) {
      case 'connect':
        return this.connect(command.connection);
      case 'close':
        return this.close(command.code, command.reason);
      case 'send':
        return this.send(command.message);
      case 'heartbeat':
        return this.beat(command.running);
      case 'timer':
        return this.set(command.name, command.inMs);
      case 'timer.clear':
        return clearTimeout(this.timers.get(command.name));
      case 'pump':
        return this.pumpSoon(command);
      case 'run':
        return builds?.run(command.assign, command.slot);
      case 'cancel':
        return builds?.cancel(command, command.reason);
      case 'abandon':
        return builds?.abandon(command, command.reason);
      case 'release':
        return builds?.release(command);
      case 'trim':
        return builds?.trim(command, command.seq);
      case 'artifact':
        return order.uploads.answer(command.message);
      case 'online':
        return this.online(command.welcome);
      case 'offline':
        return order.uploads.offline();
      case 'halt':
        return builds?.halt(command.reason);
      case 'exit':
        return this.exit(command);
    }
  }

  private connect(connection: number): void {
    let socket: WebSocket;
    try {
      socket = this.order.dial();
    } catch (error) {
      this.order.log.error({ err: error }, 'cannot dial');
      return this.dispatch({ type: 'closed', connection, code: 1006, reason: String(error) });
    }
    const link = (this.link = new Link(socket));
    let problem = '';
    let status: number | undefined;
    const heard = (): void => this.dispatch({ type: 'heard', connection });
    socket.on('upgrade', ({ socket: stream }) => gatherWrites(stream, process.nextTick));
    socket.on('open', () => this.dispatch({ type: 'connected', connection }));
    socket.on('ping', heard);
    socket.on('pong', heard);
    socket.on('message', (data: RawData, binary: boolean) =>
      this.receive(connection, data, binary),
    );
    socket.on('error', (error) => {
      problem ||= wayProblem(error);
    });
    socket.on('unexpected-response', (request, response) => {
      status = response.statusCode;
      const refused = async (): Promise<void> => {
        const body = await bodyOf(response);
        problem = `HTTP ${status}${body ? `: ${detailOf(body)}` : ''}`;
        request.destroy();
        socket.terminate();
      };
      refused().catch(() => socket.terminate());
    });
    socket.on('close', (code, text) => {
      link.end();
      const reason = text.toString() || problem;
      this.order.log.info({ code, reason }, 'not connected');
      this.dispatch({
        type: 'closed',
        connection,
        code,
        reason,
        ...(status === undefined ? {} : { status }),
      });
    });
  }

  private receive(connection: number, data: RawData, binary: boolean): void {
    if (binary)
      return this.dispatch({ type: 'garbled', connection, reason: 'masters send no data frames' });
    let message;
    try {
      message = masterCodec.parse(String(data));
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.order.log.error({ err: error }, 'the master sent what no rule allows');
      return this.dispatch({ type: 'garbled', connection, reason: error.message });
    }
    this.dispatch({ type: 'received', connection, message });
  }

  private online(welcome: Welcome): void {
    const { link } = this;
    if (!link) return;
    this.order.log.info({ master: welcome.version, name: welcome.name }, 'connected');
    if (welcome.refusedLabels)
      this.order.log.warn(
        { labels: welcome.refusedLabels },
        'the master does not give this worker these labels: its registration token does not allow them, or they say of this machine what it is not; builders that need them get no build here',
      );
    this.order.uploads.online({
      limits: welcome.limits,
      gone: link.gone,
      send: (message) => this.sendOver(link, message),
      block: async (bytes) => {
        if (!(await link.room('block'))) throw new Error('the connection is over');
        link.binary(bytes);
      },
    });
  }

  private send(message: WorkerMessage): void {
    if (this.link) this.sendOver(this.link, message);
  }

  private sendOver(link: Link, message: WorkerMessage): void {
    link.text(workerCodec.stringify(message));
  }

  private beat(running: number): void {
    const { link } = this;
    if (!link || link.gone.aborted) return;
    this.sendOver(link, { type: 'heartbeat', running, ...sendable(this.order.vitals()) });
    link.socket.ping();
  }

  private set(name: TimerName, inMs: number): void {
    clearTimeout(this.timers.get(name));
    if (name === 'reconnect') this.order.log.info({ inMs }, 'will try again');
    const timer = setTimeout(() => this.dispatch({ type: 'timer', name }), inMs);
    this.timers.set(name, timer);
  }

  private close(code: number, reason: string): void {
    const socket = this.link?.socket;
    if (!socket) return;
    this.order.log.info({ code, reason }, 'closes the connection');
    if (socket.readyState !== socket.OPEN) return socket.terminate();
    socket.close(code, closeReason(reason));
    const timer = setTimeout(() => socket.terminate(), CLOSE_MS);
    socket.once('close', () => clearTimeout(timer));
  }

  private pumpSoon(command: Pump): void {
    this.pump(command).catch((error: unknown) => {
      // A record that cannot be sent now cannot be sent later either: the attempt ends here, and no other one.
      const { build, epoch, pump, from } = command;
      this.order.log.error({ err: error, build, epoch }, 'a record of a build cannot be sent');
      const message = error instanceof Error ? error.message : String(error);
      const reason = reasonOf('worker-error', `a record cannot be sent: ${message}`);
      this.dispatch({ type: 'unread', build, epoch, pump, from, reason });
    });
  }

  /** Sends records of one build, as far as the socket takes them, and reports which. */
  private async pump({ build, epoch, pump, from, bytes }: Pump): Promise<void> {
    const ref = { build, epoch };
    const { link } = this;
    const journal = this.builds?.journal(ref);
    if (!link || !journal) return;
    let records: JournalRecord[];
    try {
      records = await journal.read(from, bytes);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const reason = { code: 'worker-error', message };
      return this.dispatch({ type: 'unread', ...ref, pump, from, reason });
    }
    const sent: SentRecord[] = [];
    for (const record of records) {
      if (!(await link.room('log'))) return;
      // A rewind, or a new connection, has made this pump void meanwhile.
      if (this.state.builds.get(keyOf(ref))?.pump !== pump) return;
      this.give(link, ref, record);
      sent.push({ seq: record.seq, bytes: record.size });
    }
    this.dispatch({ type: 'pumped', ...ref, pump, records: sent });
  }

  private give(link: Link, ref: AttemptRef, record: JournalRecord): void {
    if (record.kind === 'log') return link.binary(record.bytes);
    const { seq, atMs, event } = record;
    this.sendOver(link, { type: 'event', ...ref, seq, atMs, event });
  }

  private exit({ why, message }: SessionEnd): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
    const socket = this.link?.socket;
    if (socket && socket.readyState <= socket.OPEN) this.close(1000, why);
    this.over.resolve({ why, message });
  }
}

/** The text for people in a problem; what is none, as a proxy may send it, as it is. */
function detailOf(body: string): string {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown };
    return typeof detail === 'string' ? detail : body;
  } catch {
    return body;
  }
}

/** The first bytes of an HTTP answer, in one line. */
async function bodyOf(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const piece of response) {
      text += String(piece);
      if (text.length > REFUSAL_BYTES) break;
    }
  } catch {
    // What came is enough.
  }
  return cutText(text, REFUSAL_BYTES).replaceAll(/\s+/g, ' ').trim();
}
