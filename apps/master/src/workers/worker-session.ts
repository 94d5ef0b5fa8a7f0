import { FarmError, TokenBucket } from '@impgem/kit';
import {
  acceptWorker,
  CLOSE,
  decideMaster,
  decodeFrame,
  FrameError,
  masterCodec,
  MessageError,
  reasonOf,
  workerCodec,
  type ArtifactDone,
  type ArtifactFrame,
  type ArtifactOffer,
  type Assign,
  type CloseCode,
  type Heartbeat,
  type Hello,
  type MasterCommand,
  type MasterEvent,
  type MasterLimits,
  type MasterMessage,
  type MasterState,
  type Reason,
} from '@impgem/protocol';
import type { RawData, WebSocket } from 'ws';
import {
  PENDING_LIMIT,
  type JournalRecord,
  type JournalSource,
  type Outcome,
} from '../journal/index.js';
import { closeSocket, isOutage, logger, shielded } from '../platform/index.js';
import type { Assignment, Claimant, Taker } from '../scheduling/index.js';
import type { ServeWorker } from './serve-worker.js';
import { storable } from './storable.js';
import type { WorkerIdentity } from './worker-rows.js';

/** As people see it, while it is connected. */
export type Condition = 'online' | 'suspect' | 'draining' | 'low-disk';

/** Bytes of one worker that are received and not stored, above which its socket is not read. */
const PENDING_PER_WORKER = 4 * 1024 * 1024;
/** Bytes that a worker has not taken from its socket, above which it is cut off. */
const UNSENT_LIMIT = 16 * 1024 * 1024;
/** What a frame costs besides its payload while it waits: without it, frames without one would wait in any number. */
const FRAME_BYTES = 512;
/** What a control frame takes in memory, by its bytes: what is made of it has more than its text. */
const PARSED = 3;

const log = logger('workers');

/**
 * One connection of a worker: a thin shell around `decideMaster`. It reads frames, runs the commands, and passes
 * on what journal, dispatcher and artifacts answer. Reading stops while too much waits to be stored.
 */
export class WorkerSession implements JournalSource, Taker {
  #state: MasterState;
  #condition: 'online' | 'suspect' | 'draining' = 'online';
  #claimant: Claimant | undefined;
  #pending = 0;
  #paused = false;
  /** What the frame that is being read takes in memory. */
  #size = 0;
  /** The process that said hello. */
  process: string | undefined;
  /** The last one of this connection. */
  heartbeat: Heartbeat | undefined;
  readonly #artifacts = new Map<string, Line>();
  readonly #rate: TokenBucket;

  constructor(
    private readonly socket: WebSocket,
    readonly worker: WorkerIdentity,
    private readonly serve: ServeWorker,
    limits: MasterLimits,
  ) {
    this.#state = acceptWorker(performance.now(), limits);
    this.#rate = new TokenBucket(serve.frameRate, performance.now());
    socket.on(
      'message',
      shielded(socket, (data: RawData, isBinary: boolean) => this.#receive(data, isBinary)),
    );
    socket.on(
      'pong',
      shielded(socket, () => {
        this.#step({ type: 'heard' });
        this.#slowDown();
      }),
    );
    // Each is answered, also when nobody reads the answers.
    socket.on(
      'ping',
      shielded(socket, () => {
        this.#cutWhenFull();
        this.#slowDown();
      }),
    );
    // The close that follows says all; a frame that is too big ends here too.
    socket.on('error', (err) => log.info({ err, worker: worker.name }, 'worker socket failed'));
    socket.on(
      'close',
      shielded(socket, (code: number) => {
        log.info({ worker: worker.name, code }, 'worker disconnected');
        this.#step({ type: 'closed' });
        this.serve.left(this);
      }),
    );
  }

  // ── For the sessions' registry ──

  get condition(): Condition {
    return this.#condition === 'online' && this.lowDisk !== undefined
      ? 'low-disk'
      : this.#condition;
  }

  /** Why it is given no work, if a disk of it is low. */
  get lowDisk(): string | undefined {
    return this.heartbeat?.lowDisk;
  }

  get isOpen(): boolean {
    return this.#state.phase === 'open';
  }

  get isClosed(): boolean {
    return this.#state.phase === 'closed';
  }

  get heardAt(): number {
    return this.#state.heardAt;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  silentMs(): number {
    return this.#paused ? 0 : performance.now() - this.#state.heardAt;
  }

  tick(): void {
    this.#step({ type: 'tick' });
  }

  close(code: CloseCode, reason: string): void {
    this.#step({ type: 'shut', code, reason });
  }

  /** Resolves with whether the peer answers a ping in time. */
  answers(withinMs: number): Promise<boolean> {
    if (this.#paused) return Promise.resolve(true);
    return new Promise((resolve) => {
      const decide = (alive: boolean) => {
        clearTimeout(timer);
        this.socket.off('pong', heard).off('message', heard).off('close', gone);
        resolve(alive);
      };
      const heard = () => decide(true);
      const gone = () => decide(false);
      const timer = setTimeout(gone, withinMs);
      this.socket.on('pong', heard).on('message', heard).on('close', gone);
      this.socket.ping();
    });
  }

  /** Ends it without a word: it was proven dead. */
  terminate(): void {
    this.#step({ type: 'closed' });
    this.serve.left(this);
    this.socket.terminate();
  }

  // ── Taker ──

  get claimant(): Claimant {
    if (!this.#claimant) throw new Error('a session takes work after its greeting');
    return this.#claimant;
  }

  /** The greeting is committed: from now on it may be given work. */
  admit(claimant: Claimant): void {
    this.#claimant = claimant;
  }

  credit(): number {
    const { phase, credit } = this.#state;
    return phase === 'open' && !this.#paused && this.lowDisk === undefined ? credit : 0;
  }

  assign(assignments: Assignment[]): boolean {
    if (this.#state.phase !== 'open') return false;
    this.#step({ type: 'assigned', assignments });
    return true;
  }

  held(): { build: number; epoch: number }[] {
    return [...this.#state.attempts].flatMap(([key, { state }]) => {
      const [build, epoch] = key.split('-').map(Number);
      return state === 'held' ? [{ build: build ?? 0, epoch: epoch ?? 0 }] : [];
    });
  }

  cancel(build: number, epoch: number, reason: Reason): void {
    this.#step({ type: 'cancel', build, epoch, reason });
  }

  taken(build: number, epoch: number, reason: Reason): void {
    this.#step({ type: 'taken', build, epoch, reason });
    this.#forget(build, epoch);
  }

  // ── JournalSource ──

  outcome(outcome: Outcome): void {
    const { build, epoch } = outcome;
    switch (outcome.type) {
      case 'committed':
      case 'gap':
        return this.#step(outcome);
      case 'finished':
        this.#step({ type: 'finished', build, epoch });
        log.info({ build, epoch, worker: this.worker.name }, 'build ended');
        return this.#forget(build, epoch);
      case 'taken':
        return this.taken(build, epoch, outcome.reason ?? STALE);
      case 'corrupt':
        log.warn({ build, epoch, worker: this.worker.name }, outcome.problem);
        return this.#step({ type: 'malformed', reason: outcome.problem });
    }
  }

  failed(): void {
    this.close(CLOSE.unavailable, 'the journal cannot be stored');
  }

  drained(bytes: number): void {
    this.#pending -= bytes;
    const calm =
      this.#pending < PENDING_PER_WORKER / 2 && this.serve.journal.pendingBytes < PENDING_LIMIT / 2;
    // With nothing of its own pending nobody would wake it up again.
    if (this.#paused && (calm || this.#pending === 0)) this.#pause(false);
  }

  // ── The machine ──

  #receive(data: RawData, isBinary: boolean): void {
    // Once closed, what still comes in is not even parsed.
    if (this.isClosed) return;
    const { length } = data as Buffer;
    this.#size = isBinary ? length : PARSED * length;
    this.#step(read(data as Buffer, isBinary));
    this.#slowDown();
  }

  /** Counts a frame. More of those that store nothing than a worker has reason to send are read more slowly. */
  #slowDown(): void {
    const waitMs = this.#rate.take(performance.now());
    if (waitMs === 0 || this.#paused) return;
    this.#pause(true);
    setTimeout(() => this.drained(0), waitMs).unref();
  }

  /** Never throws: sockets, timers and the journal call it, and an error of one connection is not the others'. */
  #step(event: MasterEvent): void {
    try {
      const { state, commands } = decideMaster(this.#state, event, performance.now());
      this.#state = state;
      for (const command of commands) this.#run(command);
    } catch (error) {
      this.#broken(error);
    }
  }

  /** A bug of ours costs this connection; the worker comes back with a new one. */
  #broken(err: unknown): void {
    log.error({ err, worker: this.worker.name }, 'an error of the master; a worker is cut off');
    if (this.isClosed) return;
    this.#state = { ...this.#state, phase: 'closed', credit: 0 };
    this.serve.closed(CLOSE.unavailable);
    this.serve.left(this);
    this.socket.terminate();
  }

  #run(command: MasterCommand): void {
    switch (command.type) {
      case 'send':
        return this.#send(command.message);
      case 'close':
        return this.#close(command.code, command.reason);
      case 'ping':
        return this.socket.ping();
      case 'greet':
        this.#greet(command.hello).catch((error: unknown) => this.#broken(error));
        return;
      case 'append':
        return this.#append(command.record);
      case 'give-back':
        return this.serve.giveBack(this, command.refuse);
      case 'artifact':
        return this.#artifact(command.item);
      case 'hungry':
        return this.serve.dispatcher.wake();
      case 'condition':
        this.#condition = command.condition;
        if (command.condition === 'draining') this.serve.draining(this);
        return;
      case 'disk':
        return this.#beat(command.heartbeat);
    }
  }

  #beat(heartbeat: Heartbeat): void {
    const { lowDisk: before } = this;
    this.heartbeat = heartbeat;
    const { name: worker } = this.worker;
    if (this.lowDisk !== undefined && before === undefined)
      log.warn({ worker, why: this.lowDisk }, 'a disk of the worker is low; it is given no work');
    if (this.lowDisk === undefined && before !== undefined) this.serve.dispatcher.wake();
  }

  #send(message: MasterMessage): void {
    let text: string;
    try {
      text = masterCodec.stringify(message);
    } catch (error) {
      if (!(error instanceof MessageError) || message.type !== 'assign') throw error;
      return this.#withdraw(message, error);
    }
    this.socket.send(text);
    this.#cutWhenFull();
  }

  /** A build that cannot be told: another attempt could not be either. */
  #withdraw({ build, epoch }: Assign, err: MessageError): void {
    log.error({ err, build, epoch }, 'a build cannot be handed out');
    const reason = reasonOf('master-error', `the build cannot be handed out: ${err.message}`);
    this.serve.giveBack(this, { type: 'refuse', build, epoch, reason });
    this.taken(build, epoch, reason);
  }

  #cutWhenFull(): void {
    if (this.socket.bufferedAmount <= UNSENT_LIMIT) return;
    log.warn({ worker: this.worker.name }, 'the worker does not read; cut off');
    this.terminate();
  }

  #close(code: CloseCode, reason: string): void {
    log.info({ worker: this.worker.name, code, reason }, 'closing a worker socket');
    this.serve.closed(code);
    void closeSocket(this.socket, code, reason);
    this.serve.left(this);
  }

  async #greet(hello: Hello): Promise<void> {
    this.process = hello.process;
    const answer = await this.serve.greet(this, hello);
    this.#step(answer);
    if (this.isOpen) this.serve.dispatcher.join(this);
  }

  #append(record: JournalRecord): void {
    this.#rate.refund();
    this.#hold(this.serve.journal.append(this, record, this.#size));
  }

  #hold(bytes: number): void {
    this.#pending += bytes;
    if (this.#paused) return;
    if (this.#pending > PENDING_PER_WORKER || this.serve.journal.pendingBytes > PENDING_LIMIT)
      this.#pause(true);
  }

  #pause(paused: boolean): void {
    if (this.socket.readyState !== this.socket.OPEN) return;
    this.#paused = paused;
    if (paused) this.socket.pause();
    else this.socket.resume();
    if (paused) this.serve.paused();
    this.#step({ type: 'deaf', deaf: paused });
    if (!paused) this.serve.dispatcher.wake();
  }

  /** What was received of artifacts that nobody finishes now. */
  #forget(build: number, epoch: number): void {
    this.serve.artifacts.forget(build, epoch).catch((err: unknown) => {
      log.error({ err, build, epoch }, 'cannot clear away parts of artifacts');
    });
  }

  /** Frames of one artifact one after the other, of several side by side. */
  #artifact(item: ArtifactOffer | ArtifactDone | ArtifactFrame): void {
    const bytes = FRAME_BYTES + this.#size;
    this.#hold(bytes);
    const key = `${item.build}-${item.epoch}-${item.artifact}`;
    const line = this.#artifacts.get(key) ?? { turn: Promise.resolve(), waiting: 0, acked: 0 };
    this.#artifacts.set(key, line);
    line.waiting += 1;
    line.turn = line.turn
      .then(() => this.#takeArtifact(item, line))
      .catch((error: unknown) => this.#broken(error))
      .finally(() => {
        line.waiting -= 1;
        if (line.waiting === 0) this.#artifacts.delete(key);
        this.drained(bytes);
      });
  }

  async #takeArtifact(
    item: ArtifactOffer | ArtifactDone | ArtifactFrame,
    line: Line,
  ): Promise<void> {
    if (this.isClosed) return;
    const { build, epoch, artifact } = item;
    const about = { build, epoch, artifact };
    const { artifacts } = this.serve;
    try {
      if ('kind' in item) {
        const { offset } = await artifacts.write(item);
        // The next frame's will do, when it is here already.
        if (line.waiting > 1 && offset - line.acked < ACK_BYTES) return;
        line.acked = offset;
        return this.#step({
          type: 'artifact',
          message: { type: 'artifact.ack', ...about, offset },
        });
      }
      if (!(await this.serve.holds(this, item))) return this.taken(build, epoch, STALE);
      if ('path' in item) {
        const { offset } = await artifacts.offer(this.worker.name, item);
        line.acked = offset;
        this.#step({ type: 'artifact', message: { type: 'artifact.accept', ...about, offset } });
      } else {
        await artifacts.done(item);
        this.#step({ type: 'artifact', message: { type: 'artifact.stored', ...about } });
      }
    } catch (error) {
      this.#artifactFailed(about, error);
    }
  }

  #artifactFailed(about: { build: number; epoch: number; artifact: number }, error: unknown): void {
    if (isOutage(error)) return this.close(CLOSE.unavailable, 'the database does not answer');
    const refused = error instanceof FarmError;
    if (!refused) log.error({ err: error, ...about }, 'cannot take an artifact');
    const reason = refused
      ? reasonOf(error.code, error.message)
      : reasonOf('artifact-refused', 'the master met an error of its own');
    this.#step({ type: 'artifact', message: { type: 'artifact.refused', ...about, reason } });
  }
}

/** What is being done with the frames of one artifact. */
interface Line {
  /** Settles when all that came is done. */
  turn: Promise<void>;
  waiting: number;
  /** The last offset that was told. */
  acked: number;
}

/** A quarter of the window: the worker never waits for an acknowledgement that is held back. */
const ACK_BYTES = 256 * 1024;

const STALE: Reason = { code: 'stale', message: 'the build is not with this worker any more' };

function read(bytes: Buffer, isBinary: boolean): MasterEvent {
  try {
    if (isBinary) return { type: 'frame', frame: decodeFrame(bytes) };
    const text = bytes.toString('utf8');
    const message = workerCodec.parse(text);
    // Only an escape can bring what cannot be stored.
    return { type: 'message', message: text.includes('\\u') ? storable(message) : message };
  } catch (error) {
    const known = error instanceof MessageError || error instanceof FrameError;
    // A frame that trips over a bug of ours must not take the master, and so all other workers, with it.
    if (!known) log.error({ err: error }, 'cannot read a frame');
    return { type: 'malformed', reason: known ? error.message : 'the frame cannot be read' };
  }
}
