/**
 * The worker's end of the wire as a pure function: `decide(state, event, chance) → { state, commands }`.
 *
 * A connection lives through `idle → connecting → greeting → open → waiting → connecting …` until `stopped`:
 *
 * | phase | means | leaves it |
 * |---|---|---|
 * | idle | not started | `start` |
 * | connecting | the socket is being opened | `connected`, `closed`, the greeting timer |
 * | greeting | `hello` is sent | `welcome`, `closed`, the greeting timer |
 * | open | work is taken and journals flow | `closed` |
 * | waiting | the back-off timer runs | the reconnect timer |
 * | stopped | for good: drained, stopped, revoked, of a version the master does not speak | – |
 *
 * Rules the code below keeps:
 * - The state is never changed in place; a shell may keep old ones.
 * - A record is sent only after `journaled` said that it is on disk, and in order of its number. After a cut,
 *   `welcome` says from where; an `expect` rewinds; bytes under way stay below the master's window.
 * - A build occupies its slot from `assign` to `cleaned`; credit is what is free and not yet granted.
 * - Whatever the master says of a build that is not held here is late news of an old one, and ignored.
 */
import { fullJitter, cutText } from '@impgem/kit';
import { CLOSE, mayReconnect } from './close-codes.js';
import type { MasterMessage, Reason, Welcome } from './messages.js';
import type {
  AttemptRef,
  BuildCursor,
  Chance,
  Decision,
  ExitWhy,
  SentRecord,
  WorkerCommand,
  WorkerEvent,
  WorkerLimits,
  WorkerState,
} from './worker-machine-state.js';
import { keyOf } from './worker-machine-state.js';
import { leave, rewind, take, welcomed } from './worker-machine-builds.js';

/** One decision in the making: a copy of the state, and the commands so far. */
export class Turn {
  readonly commands: WorkerCommand[] = [];
  constructor(
    readonly state: WorkerState,
    readonly chance: Chance,
  ) {}

  emit(...commands: WorkerCommand[]): void {
    this.commands.push(...commands);
  }

  /** The build as it is held here; undefined when it is not. */
  held(ref: AttemptRef): BuildCursor | undefined {
    return this.state.builds.get(keyOf(ref));
  }

  put(cursor: BuildCursor): void {
    this.state.builds = new Map(this.state.builds).set(keyOf(cursor), cursor);
  }

  drop(ref: AttemptRef): void {
    const builds = new Map(this.state.builds);
    builds.delete(keyOf(ref));
    this.state.builds = builds;
  }

  /** Ends the connection; `closed` follows from the shell. */
  close(code: number, reason: string): void {
    this.emit({ type: 'close', connection: this.state.connection, code, reason });
  }

  stop(why: ExitWhy, message: string): void {
    this.state.phase = 'stopped';
    this.emit({ type: 'exit', why, message });
  }

  /** Grants what is free and not granted yet. */
  grant(): void {
    const { state } = this;
    if (state.phase !== 'open' || state.draining) return;
    const occupied = [...state.builds.values()].filter((build) => build.slot !== undefined).length;
    const add = state.hello.slots - occupied - state.granted;
    if (add <= 0) return;
    state.granted += add;
    this.emit({ type: 'send', message: { type: 'credit', add } });
  }

  /** Lets the next records of a build go, when there are some and the window has room. */
  feed(ref: AttemptRef): void {
    const cursor = this.held(ref);
    const { state } = this;
    if (!cursor || !state.welcome || state.phase !== 'open' || cursor.phase === 'leaving') return;
    if (cursor.pump !== undefined || cursor.sent >= cursor.seq) return;
    const inFlight = sum(cursor.inFlight);
    const room = state.welcome.limits.windowBytes - inFlight;
    // One record bigger than the whole window must still pass, alone.
    if (room <= 0 && inFlight > 0) return;
    const pump = ++state.pumps;
    this.put({ ...cursor, pump });
    const bytes = Math.min(room, state.limits.pumpBytes);
    const { build, epoch } = cursor;
    this.emit({ type: 'pump', build, epoch, pump, from: cursor.sent + 1, bytes });
  }

  /** Ends the worker when nothing keeps it any more. */
  settle(): void {
    const { state } = this;
    if (!state.draining || state.phase === 'stopped') return;
    const builds = [...state.builds.values()];
    if (builds.length === 0) {
      if (state.phase === 'open') this.close(CLOSE.normal, 'drained');
      this.stop('drained', 'drained: nothing is left to do');
    } else if (
      state.stopping &&
      state.phase !== 'open' &&
      builds.every((build) => build.phase === 'finished')
    ) {
      this.stop('stopped', 'stopped; what the master has not got yet stays in the spool');
    }
  }
}

const sum = (records: readonly SentRecord[]): number =>
  records.reduce((total, record) => total + record.bytes, 0);

/** See the head of the file. Never throws for anything that a master or a network can do. */
export function decideWorker(before: WorkerState, event: WorkerEvent, chance: Chance): Decision {
  const turn = new Turn({ ...before }, chance);
  if (before.phase !== 'stopped') react(turn, event);
  return { state: turn.state, commands: turn.commands };
}

function react(turn: Turn, event: WorkerEvent): void {
  const { state } = turn;
  if ('connection' in event && event.connection !== state.connection) return;
  switch (event.type) {
    case 'start':
      if (state.phase === 'idle') connect(turn);
      return;
    case 'connected':
      return connected(turn);
    case 'closed':
      return closed(turn, event);
    case 'heard':
      state.heardAt = turn.chance.now;
      return;
    case 'garbled':
      return turn.close(CLOSE.badMessage, cutText(event.reason, 100));
    case 'received':
      state.heardAt = turn.chance.now;
      return received(turn, event.message);
    case 'timer':
      return timer(turn, event.name);
    case 'journaled':
      return journaled(turn, event);
    case 'pumped':
      return pumped(turn, event);
    case 'unread':
      return unread(turn, event);
    case 'cleaned':
      turn.drop(event);
      turn.grant();
      return turn.settle();
    case 'broken':
      return broken(turn, event);
    case 'drain':
      return drain(turn);
    case 'stop':
      return stopNow(turn);
  }
}

function connect(turn: Turn): void {
  const { state } = turn;
  state.phase = 'connecting';
  state.connection += 1;
  turn.emit(
    { type: 'timer', name: 'greeting', inMs: state.limits.greetingMs },
    { type: 'connect', connection: state.connection },
  );
}

function connected(turn: Turn): void {
  const { state } = turn;
  if (state.phase !== 'connecting') return;
  state.phase = 'greeting';
  state.heardAt = turn.chance.now;
  const builds = [...state.builds.values()]
    .filter((build) => build.phase !== 'leaving')
    .map(({ build, epoch, seq, phase }) => ({ build, epoch, seq, finished: phase === 'finished' }));
  turn.emit({ type: 'send', message: { type: 'hello', ...state.hello, builds } });
}

function closed(turn: Turn, event: Extract<WorkerEvent, { type: 'closed' }>): void {
  const { state, chance } = turn;
  if (state.phase === 'idle' || state.phase === 'waiting') return;
  const wasOpen = state.phase === 'open';
  state.phase = 'waiting';
  state.granted = 0;
  delete state.welcome;
  turn.emit({ type: 'timer.clear', name: 'greeting' }, { type: 'timer.clear', name: 'heartbeat' });
  if (wasOpen) turn.emit({ type: 'offline' });
  for (const { pump: _, ...cursor } of state.builds.values()) turn.put({ ...cursor, inFlight: [] });
  if (event.status === 401 || event.status === 403 || !mayReconnect(event.code)) {
    const [why, message] = farewell(event);
    turn.emit({ type: 'halt', reason: { code: 'revoked', message } });
    return turn.stop(why, message);
  }
  turn.settle();
  // `settle` may have stopped it.
  if ((state.phase as string) === 'stopped') return;
  const sound = wasOpen && chance.now - state.openSince >= state.limits.longLivedMs;
  if (sound || event.code === CLOSE.restart) {
    state.failures = 0;
    state.quickLeft = state.limits.quickTries;
  }
  turn.emit({ type: 'timer', name: 'reconnect', inMs: backoff(turn) });
}

/** How long until the next try. */
function backoff({ state, chance }: Turn): number {
  if (state.quickLeft > 0) {
    state.quickLeft -= 1;
    return Math.floor(chance.random * state.limits.quickWithinMs);
  }
  const { backoffBaseMs: baseMs, backoffCapMs: capMs } = state.limits;
  return fullJitter(++state.failures, { baseMs, capMs }, () => chance.random);
}

function farewell(event: { code: number; reason: string; status?: number }): [ExitWhy, string] {
  const told = event.reason ? ` (${event.reason})` : '';
  if (event.code === CLOSE.version)
    return ['version', `the master does not speak this worker's version${told}`];
  if (event.code === CLOSE.revoked)
    return ['revoked', `the master revoked this worker's credential${told}`];
  return ['unauthenticated', `the master does not accept this worker's credential${told}`];
}

function received(turn: Turn, message: MasterMessage): void {
  const { state } = turn;
  if (message.type === 'welcome') {
    if (state.phase !== 'greeting')
      return turn.close(CLOSE.badMessage, 'welcome answers hello, once');
    turn.emit({ type: 'timer.clear', name: 'greeting' });
    state.phase = 'open';
    state.openSince = turn.chance.now;
    state.welcome = message;
    turn.emit(
      { type: 'timer', name: 'heartbeat', inMs: message.heartbeatMs },
      { type: 'online', welcome: message },
    );
    // Before the credit: a master must know of a full disk before it hands out work.
    beat(turn);
    if (state.draining) turn.emit({ type: 'send', message: { type: 'drain' } });
    welcomed(turn, message);
    turn.grant();
    return turn.settle();
  }
  if (state.phase !== 'open') return turn.close(CLOSE.badMessage, `${message.type} before welcome`);
  take(turn, message);
}

function beat(turn: Turn): void {
  const running = [...turn.state.builds.values()].filter((build) => build.phase === 'running');
  turn.emit({ type: 'heartbeat', running: running.length });
}

function timer(turn: Turn, name: Extract<WorkerEvent, { type: 'timer' }>['name']): void {
  const { state, chance } = turn;
  switch (name) {
    case 'reconnect':
      if (state.phase === 'waiting') connect(turn);
      return;
    case 'greeting':
      if (state.phase === 'connecting' || state.phase === 'greeting')
        turn.close(CLOSE.silent, 'no welcome in time');
      return;
    case 'heartbeat': {
      if (state.phase !== 'open' || !state.welcome) return;
      if (chance.now - state.heardAt > silenceMs(state.limits, state.welcome))
        return turn.close(CLOSE.silent, 'nothing heard from the master');
      beat(turn);
      turn.emit({ type: 'timer', name: 'heartbeat', inMs: state.welcome.heartbeatMs });
      return;
    }
    case 'stop':
      if (state.stopping) {
        if (state.phase === 'open') turn.close(CLOSE.normal, 'stopped');
        turn.stop('stopped', 'stopped; what the master has not got yet stays in the spool');
      }
      return;
  }
}

/** A master that asks for signs of life more often gives them more often, too. */
function silenceMs(limits: WorkerLimits, welcome: Welcome): number {
  return Math.min(limits.silenceMs, 3 * welcome.heartbeatMs);
}

function journaled(turn: Turn, event: Extract<WorkerEvent, { type: 'journaled' }>): void {
  const cursor = turn.held(event);
  if (!cursor || cursor.phase === 'leaving') return;
  const phase = event.finished ? 'finished' : cursor.phase;
  turn.put({ ...cursor, phase, seq: Math.max(cursor.seq, event.seq) });
  turn.feed(event);
  if (event.finished) turn.settle();
}

function pumped(turn: Turn, event: Extract<WorkerEvent, { type: 'pumped' }>): void {
  const cursor = turn.held(event);
  if (!cursor || cursor.pump !== event.pump) return;
  const { pump: _, ...rest } = cursor;
  const last = event.records.at(-1)?.seq ?? 0;
  const sent = Math.max(cursor.sent, last);
  // An ack may have come before this report.
  const news = event.records.filter((record) => record.seq > cursor.acked);
  turn.put({ ...rest, sent, inFlight: [...cursor.inFlight, ...news] });
  // Nothing sent means that the socket is gone or the spool cannot be read; `closed` or `broken` follows.
  if (last > 0) turn.feed(event);
}

/**
 * What was trimmed while a slow disk was asked for it does not make the journal broken: the pump is void, or an earlier
 * connection had delivered the records and this one heard so.
 */
function unread(turn: Turn, event: Extract<WorkerEvent, { type: 'unread' }>): void {
  const cursor = turn.held(event);
  if (!cursor || cursor.pump !== event.pump) return;
  if (event.from > cursor.acked) return broken(turn, event);
  rewind(turn, cursor, cursor.acked);
}

function broken(turn: Turn, event: AttemptRef & { reason: Reason }): void {
  const cursor = turn.held(event);
  if (!cursor || cursor.phase === 'leaving') return;
  leave(turn, cursor, { type: 'abandon', reason: event.reason });
  // The next hello is without it, which tells the master that this attempt is lost.
  if (turn.state.phase === 'open' || turn.state.phase === 'greeting')
    turn.close(CLOSE.normal, 'a build was lost here');
}

function drain(turn: Turn): void {
  const { state } = turn;
  if (state.draining) return;
  state.draining = true;
  state.granted = 0;
  if (state.phase === 'open') turn.emit({ type: 'send', message: { type: 'drain' } });
  turn.settle();
}

function stopNow(turn: Turn): void {
  const { state } = turn;
  if (state.stopping) return;
  drain(turn);
  if ((state.phase as string) === 'stopped') return;
  state.stopping = true;
  const reason = { code: 'worker-error', message: 'the worker was stopped' };
  turn.emit({ type: 'halt', reason }, { type: 'timer', name: 'stop', inMs: state.limits.stopMs });
  turn.settle();
}
