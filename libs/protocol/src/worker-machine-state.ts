/**
 * What the worker's end of the wire knows, what can happen to it, and what it asks its shell to do.
 * `worker-machine.ts` decides; the shell (a socket, a disk, an executor, a clock) does.
 */
import type {
  ArtifactAccept,
  ArtifactAck,
  ArtifactRefused,
  ArtifactStored,
  Assign,
  Hello,
  MasterMessage,
  Reason,
  Welcome,
  WorkerMessage,
} from './messages.js';

/** Named bounds of the worker's end; all in milliseconds but `pumpBytes`. */
export interface WorkerLimits {
  /** From the first byte of a connection attempt to the master's `welcome`. */
  greetingMs: number;
  /** Nothing heard for so long, or for three heartbeats: the connection is dead, whatever the socket says. */
  silenceMs: number;
  /** A connection that lived so long was sound: the next tries come quickly. */
  longLivedMs: number;
  /** The quick tries after a restart of the master or the drop of a long-lived connection: three within 10 s. */
  quickTries: number;
  quickWithinMs: number;
  backoffBaseMs: number;
  backoffCapMs: number;
  /** After the order to stop now: what is not delivered by then stays in the spool. */
  stopMs: number;
  /** The most that one `pump` asks for, so that a rewind has little to call back. */
  pumpBytes: number;
}

export const WORKER_LIMITS: WorkerLimits = {
  greetingMs: 30_000,
  silenceMs: 30_000,
  longLivedMs: 60_000,
  quickTries: 3,
  quickWithinMs: 3_000,
  backoffBaseMs: 1_000,
  backoffCapMs: 30_000,
  stopMs: 15_000,
  pumpBytes: 256 * 1024,
};

/** One attempt. */
export interface AttemptRef {
  build: number;
  epoch: number;
}

/** A record that was given to the socket. */
export interface SentRecord {
  seq: number;
  /** Bytes on the wire, about. */
  bytes: number;
}

/**
 * One build's journal as the wire sees it: `acked` ≤ `sent` ≤ `seq`, but that an ack may overtake the shell's
 * report of what it sent.
 */
export interface BuildCursor extends AttemptRef {
  /** `running` until `build.finished` is in the journal; `leaving`: the master is done with it, the shell cleans up. */
  phase: 'running' | 'finished' | 'leaving';
  /** Absent for ended builds found in the spool at start: they wait for nothing but delivery. */
  slot?: number;
  /** The last record in the journal; it is on disk. */
  seq: number;
  sent: number;
  acked: number;
  /** Sent and not acknowledged, oldest first; bounded by the window. */
  inFlight: readonly SentRecord[];
  /** The `pump` under way; reports of earlier ones are void. */
  pump?: number;
}

export type WorkerPhase = 'idle' | 'waiting' | 'connecting' | 'greeting' | 'open' | 'stopped';

export interface WorkerState {
  readonly hello: Omit<Hello, 'type' | 'builds'>;
  readonly limits: WorkerLimits;
  phase: WorkerPhase;
  /** Number of the present (or last) connection; events of an earlier one are void. */
  connection: number;
  /** Failed tries in a row, the quick ones not counted. */
  failures: number;
  quickLeft: number;
  openSince: number;
  heardAt: number;
  /** Credit the master holds on this connection. */
  granted: number;
  draining: boolean;
  stopping: boolean;
  welcome?: Welcome;
  /** The last number given to a `pump`. */
  pumps: number;
  builds: ReadonlyMap<string, BuildCursor>;
}

export type TimerName = 'reconnect' | 'greeting' | 'heartbeat' | 'stop';

export type WorkerEvent =
  | { type: 'start' }
  /** The socket is open and the subprotocol agreed. */
  | { type: 'connected'; connection: number }
  /** The socket is gone, or never came: `status` is the HTTP status of a refused upgrade. */
  | { type: 'closed'; connection: number; code: number; reason: string; status?: number }
  /** Any sign of life of the master. */
  | { type: 'heard'; connection: number }
  | { type: 'received'; connection: number; message: MasterMessage }
  /** A frame that no rule allows. */
  | { type: 'garbled'; connection: number; reason: string }
  | { type: 'timer'; name: TimerName }
  /** Records up to `seq` are on disk. */
  | ({ type: 'journaled'; seq: number; finished: boolean } & AttemptRef)
  /** What a `pump` gave to the socket; empty when it could not. */
  | ({ type: 'pumped'; pump: number; records: readonly SentRecord[] } & AttemptRef)
  /** What a `pump` was to send cannot be read. */
  | ({ type: 'unread'; pump: number; from: number; reason: Reason } & AttemptRef)
  /** Spool and workspace of a leaving build are gone. */
  | ({ type: 'cleaned' } & AttemptRef)
  /** The journal cannot be written any more: the attempt is lost here, and the master shall know. */
  | ({ type: 'broken'; reason: Reason } & AttemptRef)
  /** Finish what runs, take nothing new. */
  | { type: 'drain' }
  /** Stop now. */
  | { type: 'stop' };

export type ArtifactAnswer = ArtifactAccept | ArtifactAck | ArtifactStored | ArtifactRefused;

/** Why the worker's end is over. */
export type ExitWhy = 'drained' | 'stopped' | 'unauthenticated' | 'revoked' | 'version';

export type WorkerCommand =
  | { type: 'connect'; connection: number }
  /** Answered by `closed`, soon, also when the peer is dead. */
  | { type: 'close'; connection: number; code: number; reason: string }
  | { type: 'send'; message: WorkerMessage }
  /** Send a `heartbeat` (the shell knows the disk) and a ping. */
  | { type: 'heartbeat'; running: number }
  /** One timer a name; a new one replaces the old. */
  | { type: 'timer'; name: TimerName; inMs: number }
  | { type: 'timer.clear'; name: TimerName }
  /** Send records from `from` on, at least one and about `bytes` in all; answered by `pumped` or `unread`. */
  | ({ type: 'pump'; pump: number; from: number; bytes: number } & AttemptRef)
  | { type: 'run'; assign: Assign; slot: number }
  | ({ type: 'cancel'; reason: Reason } & AttemptRef)
  /** Kill it, say nothing more of it, remove workspace and spool; answered by `cleaned`. */
  | ({ type: 'abandon'; reason: Reason } & AttemptRef)
  /** All is committed: remove workspace and spool; answered by `cleaned`. */
  | ({ type: 'release' } & AttemptRef)
  /** Nothing up to `seq` is needed any more. */
  | ({ type: 'trim'; seq: number } & AttemptRef)
  | { type: 'artifact'; message: ArtifactAnswer }
  /** Artifacts may be offered (again) from now on; after `offline` not any more. */
  | { type: 'online'; welcome: Welcome }
  | { type: 'offline' }
  /** Stop all that runs: its journals end with `retry`. */
  | { type: 'halt'; reason: Reason }
  | { type: 'exit'; why: ExitWhy; message: string };

/** What the machine may not make itself: `now` in milliseconds (monotonic), `random` in [0, 1). */
export interface Chance {
  now: number;
  random: number;
}

export interface Decision {
  state: WorkerState;
  commands: WorkerCommand[];
}

/** A build found in the spool at start. */
export interface FoundBuild extends AttemptRef {
  /** The first and the last record that are still there; `first` = `seq` + 1 when none is. */
  first: number;
  seq: number;
  /** Where it runs on; absent when its journal has an end. */
  slot?: number;
}

export const keyOf = ({ build, epoch }: AttemptRef): string => `${build}-${epoch}`;

/** The state before `start`. `found` are builds that an earlier process left: ended in their journals, or taken up. */
export function initialWorkerState(
  hello: WorkerState['hello'],
  found: readonly FoundBuild[] = [],
  limits: WorkerLimits = WORKER_LIMITS,
): WorkerState {
  const builds = found.map((one): [string, BuildCursor] => [keyOf(one), cursorOf(one)]);
  return {
    hello,
    limits,
    phase: 'idle',
    connection: 0,
    failures: 0,
    quickLeft: limits.quickTries,
    openSince: 0,
    heardAt: 0,
    granted: 0,
    draining: false,
    stopping: false,
    pumps: 0,
    builds: new Map(builds),
  };
}

function cursorOf({ build, epoch, first, seq, slot }: FoundBuild): BuildCursor {
  const at = { build, epoch, seq, sent: first - 1, acked: first - 1, inFlight: [] };
  return slot === undefined ? { ...at, phase: 'finished' } : { ...at, phase: 'running', slot };
}
