import type { Rate } from '@impgem/kit';
import type { CloseCode, Hello, MasterEvent, Refuse } from '@impgem/protocol';
import type { ArtifactReceiver } from '../artifacts/index.js';
import type { Journal } from '../journal/index.js';
import type { Dispatcher } from '../scheduling/index.js';
import type { WorkerSession } from './worker-session.js';

/** What the machine is told after `hello`. */
export type Greeting = Extract<MasterEvent, { type: 'greeted' | 'shut' }>;

/** What a session needs of the master around it. */
export interface ServeWorker {
  readonly journal: Journal;
  readonly dispatcher: Dispatcher;
  readonly artifacts: ArtifactReceiver;
  readonly frameRate: Rate;
  /** Decides on what the worker holds, after any older connection of it is out of the way. Never rejects. */
  greet(session: WorkerSession, hello: Hello): Promise<Greeting>;
  giveBack(session: WorkerSession, refuse: Refuse): void;
  /** Whether the lease is this worker's right now. */
  holds(session: WorkerSession, attempt: { build: number; epoch: number }): Promise<boolean>;
  draining(session: WorkerSession): void;
  /** The session is over; may be called more than once. */
  left(session: WorkerSession): void;
  /** Counts how often a socket was not read, since too much waited to be stored. */
  paused(): void;
  /** Counts the codes that we close with. */
  closed(code: CloseCode): void;
}
