/**
 * The master's end of one worker connection as a pure function: `decideMaster(state, event, now)`.
 *
 * | phase | means | leaves it |
 * |---|---|---|
 * | awaiting-hello | the token was good, nothing is said yet | `hello`; 10 s go by: closed as silent |
 * | greeting | the database decides on what the worker says it holds | `greeted`, `shut` |
 * | open | credit, work, journals, artifacts | `shut`, misuse, silence |
 * | closed | nothing more is sent or heard | – |
 *
 * Misuse has a close code each: what is malformed or out of turn `badMessage`; naming an attempt that this
 * worker never held `notYours`. An attempt that it held once and lost is no misuse: those frames were under
 * way, and are dropped. The state is never changed in place. `now` is in milliseconds and never goes back.
 */
import { unreachable } from '@impgem/kit';
import { CLOSE, type CloseCode } from './close-codes.js';
import type { DataFrame, LogFrame } from './data-frames.js';
import type { Hello, JournalEvent, Reason, WorkerMessage } from './messages.js';
import {
  MASTER_LIMITS,
  type HeldAttempt,
  type MasterCommand,
  type MasterDecision,
  type MasterEvent,
  type MasterLimits,
  type MasterState,
} from './master-machine-state.js';
import { keyOf, type AttemptRef } from './worker-machine-state.js';

/** A connection whose token was good, before its first frame. */
export function acceptWorker(now: number, limits: MasterLimits = MASTER_LIMITS): MasterState {
  return {
    phase: 'awaiting-hello',
    since: now,
    heardAt: now,
    pingedAt: now,
    suspect: false,
    deaf: false,
    draining: false,
    credit: 0,
    attempts: new Map(),
    limits,
  };
}

/** See the head of the file. Never throws for anything that a worker can send. */
export function decideMaster(before: MasterState, event: MasterEvent, now: number): MasterDecision {
  if (before.phase === 'closed') return { state: before, commands: [] };
  switch (event.type) {
    case 'message':
      return heard(before, now, (state) => message(state, event.message, now));
    case 'frame':
      return heard(before, now, (state) => frame(state, event.frame));
    case 'heard':
      return heard(before, now, (state) => ({ state, commands: [] }));
    case 'malformed':
      return shut(before, CLOSE.badMessage, event.reason);
    case 'tick':
      return tick(before, now);
    case 'deaf':
      // What was sent meanwhile is read only now: the silence begins afresh.
      return { state: { ...before, deaf: event.deaf, heardAt: now }, commands: [] };
    case 'greeted':
      return greeted(before, event, now);
    case 'shut':
      return shut(before, event.code, event.reason);
    case 'assigned':
      return assigned(before, event);
    case 'committed':
      return tell(before, event, { type: 'ack', ...ref(event), seq: event.seq });
    case 'gap':
      return tell(before, event, { type: 'expect', ...ref(event), seq: event.seq });
    case 'finished':
      /* @flaw release-forgotten: return { state: before, commands: [] }; */
      return forget(before, event, { type: 'release', ...ref(event) });
    case 'taken':
      return forget(before, event, { type: 'stop', ...ref(event), reason: event.reason });
    case 'cancel':
      return cancel(before, event, event.reason);
    case 'artifact':
      return tell(before, event.message, event.message);
    case 'closed':
      return { state: { ...before, phase: 'closed', credit: 0 }, commands: [] };
    default:
      return unreachable(event);
  }
}

const ref = ({ build, epoch }: AttemptRef): AttemptRef => ({ build, epoch });

function shut(state: MasterState, code: CloseCode, reason: string): MasterDecision {
  return {
    state: { ...state, phase: 'closed', credit: 0 },
    commands: [{ type: 'close', code, reason }],
  };
}

/** Any frame ends a silence. */
function heard(
  before: MasterState,
  now: number,
  then: (state: MasterState) => MasterDecision,
): MasterDecision {
  const decision = then({ ...before, heardAt: now, suspect: false });
  if (before.suspect && decision.state.phase === 'open')
    decision.commands.unshift(condition(decision.state));
  return decision;
}

function condition(state: MasterState): MasterCommand {
  return { type: 'condition', condition: state.draining ? 'draining' : 'online' };
}

function tick(state: MasterState, now: number): MasterDecision {
  const { limits, phase } = state;
  switch (phase) {
    case 'awaiting-hello':
      if (now - state.since < limits.helloMs) return { state, commands: [] };
      return shut(state, CLOSE.silent, `no hello within ${limits.helloMs / 1000} s`);
    case 'greeting':
      // It waits for us.
      return { state, commands: [] };
    case 'open':
      return watch(state, now);
    case 'closed':
      return { state, commands: [] };
    default:
      return unreachable(phase);
  }
}

function watch(before: MasterState, now: number): MasterDecision {
  const { limits } = before;
  const silentMs = before.deaf ? 0 : now - before.heardAt;
  if (silentMs >= limits.lostMs)
    return shut(before, CLOSE.silent, `nothing heard for ${Math.round(silentMs / 1000)} s`);
  const commands: MasterCommand[] = [];
  let state = before;
  if (silentMs >= limits.suspectMs && !state.suspect) {
    state = { ...state, suspect: true };
    commands.push({ type: 'condition', condition: 'suspect' });
  }
  if (now - state.pingedAt >= limits.pingMs) {
    state = { ...state, pingedAt: now };
    commands.push({ type: 'ping' });
  }
  return { state, commands };
}

function message(state: MasterState, message: WorkerMessage, now: number): MasterDecision {
  const { phase } = state;
  switch (phase) {
    case 'awaiting-hello':
      if (message.type !== 'hello') return misuse(state, `${message.type} before hello`);
      return {
        state: { ...state, phase: 'greeting', since: now },
        commands: [{ type: 'greet', hello: message as Hello }],
      };
    case 'greeting':
      if (message.type === 'heartbeat') return { state, commands: [] };
      return misuse(state, `${message.type} before welcome`);
    case 'open':
      return open(state, message);
    case 'closed':
      return { state, commands: [] };
    default:
      return unreachable(phase);
  }
}

const misuse = (state: MasterState, reason: string) => shut(state, CLOSE.badMessage, reason);

function open(state: MasterState, message: WorkerMessage): MasterDecision {
  switch (message.type) {
    case 'hello':
      return misuse(state, 'hello comes once');
    case 'credit': {
      // Sent before the worker saw its own drain through; void like what was open.
      if (state.draining) return { state, commands: [] };
      const credit = state.credit + message.add;
      if (credit > state.limits.credit) return misuse(state, `credit above ${state.limits.credit}`);
      return { state: { ...state, credit }, commands: [{ type: 'hungry' }] };
    }
    case 'heartbeat':
      return { state, commands: [{ type: 'disk', heartbeat: message }] };
    case 'drain':
      // Said again it changes nothing; each would be written down.
      if (state.draining) return { state, commands: [] };
      return {
        state: { ...state, draining: true, credit: 0 },
        commands: [{ type: 'condition', condition: 'draining' }],
      };
    case 'refuse':
      return ofHeld(state, message, () => ({
        state: { ...state, attempts: departed(state, message) },
        commands: [{ type: 'give-back', refuse: message }],
      }));
    case 'event':
      return ofHeld(state, message, () => append(state, message));
    case 'artifact.offer':
    case 'artifact.done':
      return ofHeld(state, message, () => ({
        state,
        commands: [{ type: 'artifact', item: message }],
      }));
    default:
      return unreachable(message);
  }
}

function frame(state: MasterState, frame: DataFrame): MasterDecision {
  if (state.phase !== 'open') return misuse(state, `${frame.kind} frame before welcome`);
  return ofHeld(state, frame, () =>
    frame.kind === 'log'
      ? append(state, frame)
      : { state, commands: [{ type: 'artifact', item: frame }] },
  );
}

/** The record is told nothing of before its commit. */
function append(state: MasterState, record: JournalEvent | LogFrame): MasterDecision {
  const commands: MasterCommand[] = [{ type: 'append', record }];
  /* @flaw ack-before-commit: commands.push({ type: 'send', message: { type: 'ack', ...ref(record), seq: record.seq } }); */
  return { state, commands };
}

function ofHeld(
  state: MasterState,
  attempt: AttemptRef,
  then: () => MasterDecision,
): MasterDecision {
  switch (state.attempts.get(keyOf(attempt))?.state) {
    case 'held':
      return then();
    case 'gone':
      return { state, commands: [] };
    case undefined:
      return shut(
        state,
        CLOSE.notYours,
        `build ${attempt.build} epoch ${attempt.epoch} is not yours`,
      );
  }
}

function greeted(
  before: MasterState,
  event: Extract<MasterEvent, { type: 'greeted' }>,
  now: number,
): MasterDecision {
  if (before.phase !== 'greeting') return { state: before, commands: [] };
  const attempts = new Map<string, HeldAttempt>();
  for (const verdict of event.verdicts)
    attempts.set(keyOf(verdict), {
      state: verdict.verdict === 'continue' ? 'held' : 'gone',
      cancelTold: verdict.cancel,
    });
  const state = { ...before, phase: 'open' as const, since: now, heardAt: now, attempts };
  const welcome = { type: 'welcome' as const, ...event.welcome, builds: [...event.verdicts] };
  return { state, commands: [{ type: 'send', message: welcome }, condition(state)] };
}

function assigned(
  before: MasterState,
  { assignments }: Extract<MasterEvent, { type: 'assigned' }>,
): MasterDecision {
  const attempts = new Map(before.attempts);
  /* @flaw credit-kept: before = { ...before, credit: before.credit + assignments.length }; */
  for (const assignment of assignments)
    attempts.set(keyOf(assignment), { state: 'held', cancelTold: false });
  return {
    state: { ...before, attempts, credit: Math.max(0, before.credit - assignments.length) },
    commands: assignments.map((assignment) => ({
      type: 'send',
      message: { type: 'assign', ...assignment },
    })),
  };
}

/** Says something of an attempt, if the worker still has it. */
function tell(
  state: MasterState,
  attempt: AttemptRef,
  message: Extract<MasterCommand, { type: 'send' }>['message'],
): MasterDecision {
  const held = state.attempts.get(keyOf(attempt))?.state === 'held';
  return { state, commands: held ? [{ type: 'send', message }] : [] };
}

/** The same, and the attempt is over for this worker. */
function forget(
  state: MasterState,
  attempt: AttemptRef,
  message: Extract<MasterCommand, { type: 'send' }>['message'],
): MasterDecision {
  const { commands } = tell(state, attempt, message);
  if (commands.length === 0) return { state, commands };
  return { state: { ...state, attempts: departed(state, attempt) }, commands };
}

function cancel(state: MasterState, attempt: AttemptRef, reason: Reason): MasterDecision {
  const key = keyOf(attempt);
  const known = state.attempts.get(key);
  if (known?.state !== 'held' || known.cancelTold) return { state, commands: [] };
  const attempts = new Map(state.attempts).set(key, { ...known, cancelTold: true });
  return {
    state: { ...state, attempts },
    commands: [{ type: 'send', message: { type: 'cancel', ...ref(attempt), reason } }],
  };
}

/** The attempts with this one gone; the oldest gone ones are forgotten beyond the limit. */
function departed(state: MasterState, attempt: AttemptRef): Map<string, HeldAttempt> {
  const attempts = new Map(state.attempts);
  const key = keyOf(attempt);
  attempts.delete(key);
  attempts.set(key, { state: 'gone', cancelTold: false });
  if (attempts.size <= state.limits.gone) return attempts;
  for (const [old, { state: was }] of attempts) {
    if (attempts.size <= state.limits.gone) break;
    if (was === 'gone') attempts.delete(old);
  }
  return attempts;
}
