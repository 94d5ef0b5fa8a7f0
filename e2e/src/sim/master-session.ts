import {
  acceptWorker,
  decideMaster,
  type AttemptRef,
  type Hello,
  type JournalEvent,
  type LogFrame,
  type MasterCommand,
  type MasterEvent,
  type MasterState,
  type Reason,
  type WorkerMessage,
} from '@impgem/protocol';
import type { ModelAssignment, ModelClaimant, ModelOutcome } from '@impgem/testkit';
import type { Master } from './master.js';
import type { Connection, Endpoint, Frame } from './network.js';
import type { Process } from './world.js';

/** Small, so that it is met. */
const PENDING_PER_WORKER = 4000;
const CLOSE_MS = 2000;
const STALE: Reason = {
  code: 'stale',
  message: 'the build is not with this worker any more',
};

/** One connection of a worker to a master: the shell around the master machine. */
export class MasterSession implements Endpoint {
  state: MasterState;
  hello: Hello | undefined;
  claimant: ModelClaimant | undefined;
  #pending = 0;
  #paused = false;
  /** Who waits for a sign of life. */
  readonly #proofs = new Set<(alive: boolean) => void>();

  constructor(
    private readonly master: Master,
    readonly connection: Connection,
    readonly worker: string,
  ) {
    this.state = acceptWorker(master.process.now);
    connection.attach('master', this);
  }

  get process(): Process {
    return this.master.process;
  }

  get isClosed(): boolean {
    return this.state.phase === 'closed';
  }

  silentMs(): number {
    return this.#paused ? 0 : this.process.now - this.state.heardAt;
  }

  receive(frame: Extract<Frame, { type: 'message' | 'data' | 'ping' | 'pong' }>): void {
    if (frame.type !== 'ping') for (const prove of this.#proofs) prove(true);
    if (frame.type === 'pong') return this.step({ type: 'heard' });
    if (this.isClosed) return;
    if (frame.type === 'message')
      this.step({ type: 'message', message: frame.message as WorkerMessage });
    else if (frame.type === 'data') this.step({ type: 'frame', frame: frame.frame });
  }

  closed(code: number): void {
    this.master.world.note(() => `${this.process.name}: ${this.worker} is gone, ${code}`);
    for (const prove of this.#proofs) prove(false);
    this.step({ type: 'closed' });
    this.master.left(this);
  }

  answers(withinMs: number, then: (alive: boolean) => void): void {
    if (this.#paused) return then(true);
    const prove = (alive: boolean) => {
      if (this.#proofs.delete(prove)) then(alive);
    };
    this.#proofs.add(prove);
    this.process.after(withinMs, () => prove(false));
    this.connection.send('master', { type: 'ping' });
  }

  terminate(): void {
    this.step({ type: 'closed' });
    this.master.left(this);
    this.connection.terminate('master');
  }

  // ── For the dispatcher ──

  credit(): number {
    return this.state.phase === 'open' && !this.#paused ? this.state.credit : 0;
  }

  assign(assignments: ModelAssignment[]): boolean {
    if (this.state.phase !== 'open') return false;
    this.step({ type: 'assigned', assignments });
    return true;
  }

  held(): AttemptRef[] {
    return [...this.state.attempts].flatMap(([key, { state }]) => {
      const [build, epoch] = key.split('-').map(Number);
      return state === 'held' ? [{ build: build ?? 0, epoch: epoch ?? 0 }] : [];
    });
  }

  taken(build: number, epoch: number, reason: Reason): void {
    this.step({ type: 'taken', build, epoch, reason });
  }

  // ── For the journal ──

  outcome(outcome: ModelOutcome): void {
    const { build, epoch } = outcome;
    switch (outcome.type) {
      case 'committed':
      case 'gap':
        return this.step(outcome);
      case 'finished':
        return this.step({ type: 'finished', build, epoch });
      case 'taken':
        return this.taken(build, epoch, STALE);
      case 'corrupt':
        this.master.referee.corrupt(this.worker, outcome.problem);
        return this.step({ type: 'malformed', reason: outcome.problem });
    }
  }

  drained(bytes: number): void {
    this.#pending -= bytes;
    if (this.#paused && this.#pending < PENDING_PER_WORKER / 2) this.#pause(false);
  }

  // ── The machine ──

  step(event: MasterEvent): void {
    const { state, commands } = decideMaster(this.state, event, this.process.now);
    this.state = state;
    for (const command of commands) this.#run(command);
  }

  #run(command: MasterCommand): void {
    const { master } = this;
    switch (command.type) {
      case 'send':
        master.referee.masterSays(command.message);
        return this.connection.send('master', { type: 'message', message: command.message });
      case 'close':
        return this.#close(command.code, command.reason);
      case 'ping':
        return this.connection.send('master', { type: 'ping' });
      case 'greet':
        this.hello = command.hello;
        return master.greet(this, command.hello, (greeting) => {
          this.step(greeting);
          if (this.state.phase === 'open') master.dispatcher.join(this);
        });
      case 'append':
        return this.#append(command.record);
      case 'give-back':
        return master.giveBack(this, command.refuse);
      case 'hungry':
        return master.dispatcher.wake();
      case 'condition':
        if (command.condition === 'draining') master.draining(this);
        return;
      case 'artifact':
      case 'disk':
        return;
    }
  }

  #close(code: number, reason: string): void {
    this.master.world.note(() => `${this.process.name}: closes ${this.worker} ${code} ${reason}`);
    this.master.referee.masterCloses(this.worker, code, reason);
    // The peer's answer must be read.
    this.connection.pause('master', false);
    this.connection.close('master', code, reason);
    this.process.after(CLOSE_MS, () => this.connection.terminate('master'));
    this.master.left(this);
  }

  #append(record: JournalEvent | LogFrame): void {
    this.#pending += this.master.journal.append(this, record);
    if (!this.#paused && this.#pending > PENDING_PER_WORKER) this.#pause(true);
  }

  #pause(paused: boolean): void {
    if (this.connection.isOver('master')) return;
    this.#paused = paused;
    this.connection.pause('master', paused);
    this.step({ type: 'deaf', deaf: paused });
    if (!paused) this.master.dispatcher.wake();
  }
}
