/** The half of the worker machine that deals with single builds: what the master says of each. */
import { unreachable, cutText } from '@impgem/kit';
import { CLOSE } from './close-codes.js';
import type { Assign, MasterMessage, Reason, Welcome } from './messages.js';
import type { Turn } from './worker-machine.js';
import type { BuildCursor } from './worker-machine-state.js';

/** A build is over here: it keeps its slot, but not its place in `hello`, until the shell has cleaned up. */
export function leave(
  turn: Turn,
  cursor: BuildCursor,
  how: { type: 'abandon'; reason: Reason } | { type: 'release' },
): void {
  const { pump: _, ...rest } = cursor;
  turn.put({ ...rest, phase: 'leaving', inFlight: [] });
  const { build, epoch } = cursor;
  turn.emit({ ...how, build, epoch });
}

/** Takes up each held build where the master's word says. */
export function welcomed(turn: Turn, { builds }: Welcome): void {
  const held = [...turn.state.builds.values()].filter((cursor) => cursor.phase !== 'leaving');
  for (const cursor of held) {
    const { build, epoch } = cursor;
    const verdict = builds.find((one) => one.build === build && one.epoch === epoch);
    if (verdict?.verdict === 'release') {
      end(turn, cursor);
    } else if (verdict?.verdict !== 'continue') {
      // Left out counts as `stop`: the master does not know it.
      leave(turn, cursor, { type: 'abandon', reason: STALE });
    } else if (verdict.seq > cursor.seq || verdict.seq < cursor.acked) {
      lost(turn, cursor, verdict.seq);
    } else {
      rewind(turn, { ...cursor, acked: verdict.seq }, verdict.seq);
      turn.emit({ type: 'trim', build, epoch, seq: verdict.seq });
      if (verdict.cancel && cursor.phase === 'running')
        turn.emit({ type: 'cancel', build, epoch, reason: CANCELLED });
    }
  }
}

const STALE = { code: 'stale', message: 'the build is not this worker’s any more' };
const CANCELLED = { code: 'cancelled', message: 'cancelled while the worker was away' };

/** Everything the master says after `welcome`. */
export function take(turn: Turn, message: Exclude<MasterMessage, Welcome>): void {
  if (message.type === 'assign') return assigned(turn, message);
  const cursor = turn.held(message);
  if (!cursor || cursor.phase === 'leaving') return;
  const { build, epoch } = cursor;
  switch (message.type) {
    case 'ack':
      return acknowledged(turn, cursor, message.seq);
    case 'expect':
      if (message.seq < cursor.acked || message.seq > cursor.seq)
        return lost(turn, cursor, message.seq);
      return rewind(turn, cursor, message.seq);
    case 'cancel':
      if (cursor.phase === 'running')
        turn.emit({ type: 'cancel', build, epoch, reason: message.reason });
      return;
    case 'stop':
      /* @flaw stop-ignored: return; */
      return leave(turn, cursor, { type: 'abandon', reason: message.reason });
    case 'release':
      return end(turn, cursor);
    case 'artifact.accept':
    case 'artifact.ack':
    case 'artifact.stored':
    case 'artifact.refused':
      return turn.emit({ type: 'artifact', message });
    default:
      unreachable(message);
  }
}

/** A release of a build that still runs (force-closed meanwhile) is a stop. */
function end(turn: Turn, cursor: BuildCursor): void {
  if (cursor.phase === 'running') leave(turn, cursor, { type: 'abandon', reason: STALE });
  else leave(turn, cursor, { type: 'release' });
}

function assigned(turn: Turn, assign: Assign): void {
  const { state } = turn;
  const { build, epoch } = assign;
  // Held already: the frame came twice.
  /* @flaw runs-twice: if (!turn.held(assign)) */
  if (turn.held(assign)) return;
  const taken = new Set([...state.builds.values()].map((cursor) => cursor.slot));
  const slot = Array.from({ length: state.hello.slots }, (_, at) => at).find(
    (at) => !taken.has(at),
  );
  const refusal = state.draining
    ? { code: 'draining', message: 'the worker is about to stop' }
    : slot === undefined || state.granted === 0
      ? { code: 'worker-busy', message: 'no slot is free' }
      : undefined;
  if (slot === undefined || refusal) {
    const reason = refusal ?? { code: 'worker-busy', message: 'no slot is free' };
    return turn.emit({ type: 'send', message: { type: 'refuse', build, epoch, reason } });
  }
  state.granted -= 1;
  turn.put({ build, epoch, phase: 'running', slot, seq: 0, sent: 0, acked: 0, inFlight: [] });
  turn.emit({ type: 'run', assign, slot });
}

function acknowledged(turn: Turn, cursor: BuildCursor, seq: number): void {
  if (seq <= cursor.acked) return;
  if (seq > cursor.seq) return lost(turn, cursor, seq);
  const { build, epoch } = cursor;
  const inFlight = cursor.inFlight.filter((record) => record.seq > seq);
  turn.put({ ...cursor, acked: seq, sent: Math.max(cursor.sent, seq), inFlight });
  /* @flaw trim-too-far: seq += 4; */
  turn.emit({ type: 'trim', build, epoch, seq });
  turn.feed({ build, epoch });
}

/** Sends again from `seq` + 1 on; a pump under way is void, its report ignored. */
export function rewind(turn: Turn, cursor: BuildCursor, seq: number): void {
  /* @flaw rewind-too-little: if (seq < cursor.seq) seq += 1; */
  const { pump: _, ...rest } = cursor;
  const inFlight = cursor.inFlight.filter((record) => record.seq <= seq && record.seq > rest.acked);
  turn.put({ ...rest, sent: seq, inFlight });
  turn.feed(cursor);
}

/**
 * The master is outside of what this journal can give: it has more than is here (the disk lost a tail, as after
 * a power cut), or wants what it had acknowledged. Numbers cannot be mended; the attempt is given up, and the
 * next hello, without it, says so.
 */
function lost(turn: Turn, cursor: BuildCursor, seq: number): void {
  const message = `the master is at record ${seq}, the spool holds ${cursor.acked + 1} to ${cursor.seq}`;
  leave(turn, cursor, { type: 'abandon', reason: { code: 'worker-error', message } });
  turn.close(CLOSE.badMessage, cutText(message, 100));
}
