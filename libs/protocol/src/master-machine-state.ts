import type { CloseCode } from './close-codes.js';
import type { ArtifactFrame, DataFrame, LogFrame } from './data-frames.js';
import type {
  ArtifactDone,
  ArtifactOffer,
  Assign,
  Heartbeat,
  Hello,
  HeldVerdict,
  JournalEvent,
  MasterMessage,
  Reason,
  Refuse,
  Welcome,
  WorkerMessage,
} from './messages.js';

/** Named bounds of a connection, in milliseconds where they are times. */
export interface MasterLimits {
  /** From the upgrade to `hello`. */
  helloMs: number;
  /** Silence after which a worker is shown as suspect. */
  suspectMs: number;
  /** Silence after which the connection is closed and the worker counts as lost. */
  lostMs: number;
  /** How often the master pings, so that the worker knows that it lives. */
  pingMs: number;
  /** Credit that may be open at once. */
  credit: number;
  /** Attempts that ended on this connection and are remembered, since frames of them may be under way. */
  gone: number;
}

export const MASTER_LIMITS: MasterLimits = {
  helloMs: 10_000,
  suspectMs: 15_000,
  lostMs: 45_000,
  pingMs: 10_000,
  credit: 1024,
  gone: 256,
};

/** The limits of a master whose workers say every `heartbeatMs` that they live; those above by default. */
export function masterLimits(heartbeatMs: number): MasterLimits {
  const share = heartbeatMs / MASTER_LIMITS.pingMs;
  return {
    ...MASTER_LIMITS,
    pingMs: heartbeatMs,
    suspectMs: MASTER_LIMITS.suspectMs * share,
    lostMs: MASTER_LIMITS.lostMs * share,
  };
}

/** What the master knows of an attempt that this worker has, or had while this connection lasted. */
export interface HeldAttempt {
  /** `gone`: released, stopped, refused; frames of it that are still under way are dropped. */
  readonly state: 'held' | 'gone';
  /** The worker was told to cancel it. */
  readonly cancelTold: boolean;
}

export interface MasterState {
  readonly phase: 'awaiting-hello' | 'greeting' | 'open' | 'closed';
  /** When the phase began; milliseconds of any clock that only grows. */
  readonly since: number;
  readonly heardAt: number;
  readonly pingedAt: number;
  readonly suspect: boolean;
  /** The socket is not read, since too much is uncommitted: silence then says nothing. */
  readonly deaf: boolean;
  readonly draining: boolean;
  /** Builds that the worker takes now. */
  readonly credit: number;
  /** By `keyOf`, oldest first. */
  readonly attempts: ReadonlyMap<string, HeldAttempt>;
  readonly limits: MasterLimits;
}

export type MasterEvent =
  | { type: 'message'; message: WorkerMessage }
  | { type: 'frame'; frame: DataFrame }
  /** A frame that is none of the protocol's. */
  | { type: 'malformed'; reason: string }
  /** A pong: the worker's program lives. */
  | { type: 'heard' }
  | { type: 'tick' }
  /** The socket is read no more, or again. */
  | { type: 'deaf'; deaf: boolean }
  /** The verdicts on what `hello` named are committed. */
  | { type: 'greeted'; welcome: Omit<Welcome, 'type' | 'builds'>; verdicts: readonly HeldVerdict[] }
  /** This connection is not to be served. */
  | { type: 'shut'; code: CloseCode; reason: string }
  | { type: 'assigned'; assignments: readonly Omit<Assign, 'type'>[] }
  | { type: 'committed'; build: number; epoch: number; seq: number }
  /** A gap: the journal is committed up to `seq`. */
  | { type: 'gap'; build: number; epoch: number; seq: number }
  /** `build.finished` is committed. */
  | { type: 'finished'; build: number; epoch: number }
  | { type: 'cancel'; build: number; epoch: number; reason: Reason }
  /** The attempt is not this worker's any more. */
  | { type: 'taken'; build: number; epoch: number; reason: Reason }
  /** The answer to an artifact's offer, block or end. */
  | { type: 'artifact'; message: Extract<MasterMessage, { type: `artifact.${string}` }> }
  /** The socket is closed. */
  | { type: 'closed' };

export type MasterCommand =
  | { type: 'send'; message: MasterMessage }
  | { type: 'close'; code: CloseCode; reason: string }
  | { type: 'ping' }
  /** Find the verdicts on what it holds; answer with `greeted` or `shut`. */
  | { type: 'greet'; hello: Hello }
  /** Put into the journal; answered by `committed`, `gap`, `finished`, `taken`. */
  | { type: 'append'; record: JournalEvent | LogFrame }
  /** Give the request back to the queue. */
  | { type: 'give-back'; refuse: Refuse }
  | { type: 'artifact'; item: ArtifactOffer | ArtifactDone | ArtifactFrame }
  /** More work is wanted. */
  | { type: 'hungry' }
  | { type: 'condition'; condition: 'online' | 'suspect' | 'draining' }
  | { type: 'disk'; heartbeat: Heartbeat };

export interface MasterDecision {
  state: MasterState;
  commands: MasterCommand[];
}
