import {
  CLOSE,
  decideWorker,
  initialWorkerState,
  keyOf,
  WORKER_LIMITS,
  type AttemptRef,
  type FoundBuild,
  type MasterMessage,
  type WorkerCommand,
  type WorkerEvent,
  type WorkerMessage,
  type WorkerState,
} from '@impgem/protocol';
import { BuildRun, type Stop } from './build-run.js';
import { containerKey, Engine, type BuildScript } from './engine.js';
import type { Connection, Endpoint, Frame } from './network.js';
import type { Referee } from './referee.js';
import { Journal, progressOf, recover, type Disk, type SpoolFile } from './spool.js';
import { Process, type Planned, type World } from './world.js';

/** A dial that nobody answers. */
const HANDSHAKE_MS = 20_000;
const LIMITS = { ...WORKER_LIMITS, pumpBytes: 600 };

/** What a worker asks of the world around it. */
export interface Surroundings {
  readonly world: World;
  readonly referee: Referee;
  /** Tries to reach a master; the answer comes through the endpoint. */
  dial(machine: Machine, end: Dialer): Connection;
  scriptOf(build: number): BuildScript;
}

export interface Dialer extends Endpoint {
  opened(): void;
  refused(code: number, reason: string, status?: number): void;
}

/** A machine with one worker on it: disk and engine outlive its processes. */
export class Machine {
  readonly disk: Disk = new Map();
  readonly engine: Engine;
  readonly id: string;
  worker: WorkerProcess | undefined;
  /** Nothing goes in or out until then. */
  cutOffUntil = 0;
  /** Counts its losses of power. */
  boot = 0;
  #starts = 0;

  constructor(
    readonly around: Surroundings,
    readonly name: string,
    readonly slots: number,
    readonly labels: string[],
  ) {
    this.id = name;
    this.engine = new Engine(around.world);
  }

  start(): void {
    if (this.worker?.process.alive) return;
    this.#starts += 1;
    this.worker = new WorkerProcess(this, `${this.name}.${this.#starts}`);
    this.worker.begin();
  }

  kill(): void {
    this.worker?.process.die();
  }

  /** All that runs ends at once, and the disk loses the last of what was written. */
  losePower(): void {
    const { chance } = this.around.world;
    this.kill();
    this.boot += 1;
    for (const key of this.engine.list()) {
      const container = this.engine.find(key);
      if (container) this.engine.kill(container, 0);
    }
    for (const [key, file] of this.disk)
      if (chance.odds(0.1)) this.disk.delete(key);
      else if (chance.odds(0.7))
        file.records.length = chance.int(file.trimmed, file.records.length);
  }
}

interface Entry {
  ref: AttemptRef;
  journal: Journal;
  run?: BuildRun;
  /** Its spool is being made. */
  making?: boolean;
  leaving: boolean;
}

/** One life of the worker program: the shell around the worker machine. */
export class WorkerProcess implements Dialer {
  readonly process: Process;
  state: WorkerState;
  readonly #world: World;
  #connection: Connection | undefined;
  /** The machine's number of it. */
  #number = 0;
  readonly #events: WorkerEvent[] = [];
  #deciding = false;
  readonly #timers = new Map<string, Planned>();
  readonly #entries = new Map<string, Entry>();
  #halted: Stop | undefined;

  constructor(
    private readonly machine: Machine,
    name: string,
  ) {
    this.#world = machine.around.world;
    this.process = new Process(this.#world, name);
    this.state = initialWorkerState(this.#hello());
  }

  /** Takes up what an earlier life left, and connects. */
  begin(): void {
    const files = recover(this.machine.disk, this.machine.boot);
    this.#sweep(files);
    const found = files.map((file) => this.#takeUp(file));
    this.state = initialWorkerState(this.#hello(), found, LIMITS);
    this.dispatch({ type: 'start' });
    for (const { run } of this.#entries.values()) run?.begin();
  }

  dispatch(event: WorkerEvent): void {
    this.#events.push(event);
    if (this.#deciding) return;
    this.#deciding = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) {
      const chance = { now: this.process.now, random: this.#world.chance.next() };
      const { state, commands } = decideWorker(this.state, next, chance);
      this.state = state;
      for (const command of commands) this.#perform(command);
    }
    this.#deciding = false;
  }

  get journals(): Journal[] {
    return [...this.#entries.values()].map(({ journal }) => journal);
  }

  // ── Dialer ──

  opened(): void {
    this.dispatch({ type: 'connected', connection: this.#number });
  }

  refused(code: number, reason: string, status?: number): void {
    const connection = this.#number;
    this.dispatch({
      type: 'closed',
      connection,
      code,
      reason,
      ...(status === undefined ? {} : { status }),
    });
  }

  receive(frame: Extract<Frame, { type: 'message' | 'data' | 'ping' | 'pong' }>): void {
    const connection = this.#number;
    if (frame.type === 'message')
      this.dispatch({ type: 'received', connection, message: frame.message as MasterMessage });
    else this.dispatch({ type: 'heard', connection });
  }

  closed(code: number, reason: string): void {
    this.#world.note(() => `${this.process.name}: closed ${code} ${reason}`);
    this.refused(code, reason);
  }

  // ── Inside ──

  #hello(): WorkerState['hello'] {
    const { labels, slots } = this.machine;
    return {
      version: '0.1.0',
      process: this.process.name,
      platform: { os: 'linux', arch: 'amd64', hostname: this.machine.name, cpus: 1, memory: 1 },
      executor: 'scripted',
      labels,
      slots,
    };
  }

  /** What is in the engine and is not the open step of a build that goes on is nobody's. */
  #sweep(files: readonly SpoolFile[]): void {
    const open = files.flatMap((file) => {
      const { open, endings, finished } = progressOf(file);
      return open && !finished ? [containerKey(file.assign, endings.length)] : [];
    });
    for (const key of this.machine.engine.list())
      if (!open.includes(key)) this.machine.engine.remove(key);
  }

  /** A build goes on where its journal ends, in its slot; one whose journal has its end waits for delivery. */
  #takeUp(file: SpoolFile): FoundBuild {
    const entry = this.#enter(file);
    const { ref, journal } = entry;
    const found = { ...ref, first: file.trimmed + 1, seq: journal.seq };
    if (progressOf(file).finished) return found;
    this.#addRun(entry);
    return { ...found, slot: file.slot };
  }

  #addRun(entry: Entry): BuildRun {
    const { around, engine } = this.machine;
    const { ref, journal } = entry;
    entry.run = new BuildRun(
      this.process,
      engine,
      around.scriptOf(ref.build),
      journal,
      (seq, finished) => this.dispatch({ type: 'journaled', ...ref, seq, finished }),
      () => this.#leave(entry),
    );
    return entry.run;
  }

  #enter(file: SpoolFile): Entry {
    const { build, epoch } = file.assign;
    const ref = { build, epoch };
    const journal = new Journal(this.process, file, (reason) => {
      entry.run?.interrupt({ kind: 'abandon', reason });
      this.dispatch({ type: 'broken', ...ref, reason });
    });
    const entry: Entry = { ref, journal, leaving: false };
    this.#entries.set(keyOf(ref), entry);
    return entry;
  }

  #perform(command: WorkerCommand): void {
    switch (command.type) {
      case 'connect':
        this.#number = command.connection;
        this.#connection = this.machine.around.dial(this.machine, this.#dialer());
        return;
      case 'close':
        this.#world.note(() => `${this.process.name}: closes ${command.code} ${command.reason}`);
        this.machine.around.referee.workerCloses(this.machine, command.code, command.reason);
        return this.#connection?.close('worker', command.code, command.reason);
      case 'send':
        return this.#send(command.message);
      case 'heartbeat':
        this.#send({ type: 'heartbeat', running: command.running, diskFree: 1 });
        return this.#connection?.send('worker', { type: 'ping' });
      case 'timer':
        this.#cancelTimer(command.name);
        this.#timers.set(
          command.name,
          this.process.after(command.inMs, () =>
            this.dispatch({ type: 'timer', name: command.name }),
          ),
        );
        return;
      case 'timer.clear':
        return this.#cancelTimer(command.name);
      case 'halt':
        this.#halted = { kind: 'halt', reason: command.reason };
        for (const { run } of this.#entries.values()) run?.interrupt(this.#halted);
        return;
      case 'exit':
        return this.#exit(command.why);
      case 'artifact':
      case 'online':
      case 'offline':
        return;
      default:
        return this.#build(command);
    }
  }

  #build(
    command: Extract<WorkerCommand, AttemptRef> | Extract<WorkerCommand, { type: 'run' }>,
  ): void {
    if (command.type === 'run') return this.#run(command);
    const entry = this.#entries.get(keyOf(command));
    switch (command.type) {
      case 'pump':
        return this.#pump(command);
      case 'cancel':
        return entry?.run?.interrupt({ kind: 'cancel', reason: command.reason });
      case 'abandon':
        this.#world.note(
          () => `${this.process.name}: abandons ${keyOf(command)} ${command.reason.message}`,
        );
        this.machine.around.referee.abandoned(this.machine, command, command.reason);
        entry?.run?.interrupt({ kind: 'abandon', reason: command.reason });
        return this.#forget(command);
      case 'release':
        this.machine.around.referee.released(command);
        return this.#forget(command);
      case 'trim':
        return entry?.journal.trim(command.seq);
    }
  }

  /** One for each connection: what comes over an old one must not pass for news of the new one. */
  #dialer(): Dialer {
    const number = this.#number;
    const mine = () => number === this.#number;
    return {
      process: this.process,
      opened: () => mine() && this.opened(),
      refused: (code, reason, status) => mine() && this.refused(code, reason, status),
      receive: (frame) => mine() && this.receive(frame),
      closed: (code, reason) => mine() && this.closed(code, reason),
    };
  }

  #cancelTimer(name: string): void {
    const timer = this.#timers.get(name);
    if (timer) timer.cancelled = true;
  }

  #send(message: WorkerMessage): void {
    this.#connection?.send('worker', { type: 'message', message });
  }

  #run({ assign, slot }: Extract<WorkerCommand, { type: 'run' }>): void {
    const { around, boot, disk } = this.machine;
    const { build, epoch } = assign;
    around.referee.runs(this.machine, { build, epoch });
    const file: SpoolFile = { assign, slot, boot, records: [], trimmed: 0, torn: false };
    const entry = this.#enter(file);
    const run = this.#addRun(entry);
    if (this.#halted) run.interrupt(this.#halted);
    entry.making = true;
    this.process.after(this.#world.chance.delay(2, 500), () => {
      entry.making = false;
      disk.set(keyOf(assign), file);
      run.begin();
      this.#leave(entry);
    });
  }

  #pump({ build, epoch, pump, from, bytes }: Extract<WorkerCommand, { type: 'pump' }>): void {
    const ref = { build, epoch };
    const key = keyOf(ref);
    const connection = this.#connection;
    const entry = this.#entries.get(key);
    if (!connection || !entry) return;
    this.process.after(this.#world.chance.delay(1, 400), () => {
      const records = entry.journal.read(from, bytes);
      if (!records) {
        const reason = { code: 'worker-error', message: `record ${from} is not in the spool` };
        return this.dispatch({ type: 'unread', ...ref, pump, from, reason });
      }
      // A rewind, or a new connection, has made this pump void meanwhile.
      if (connection.isOver('worker') || this.state.builds.get(key)?.pump !== pump) return;
      for (const record of records)
        if (record.kind === 'log') connection.send('worker', { type: 'data', frame: record.frame });
        else {
          const { seq, event } = record;
          this.#send({ type: 'event', ...ref, seq, atMs: 0, event });
        }
      const sent = records.map(({ seq, size }) => ({ seq, bytes: size }));
      const told = () => this.dispatch({ type: 'pumped', ...ref, pump, records: sent });
      // The ack may overtake the report.
      if (this.#world.chance.odds(0.2)) this.process.after(this.#world.chance.between(0, 50), told);
      else told();
    });
  }

  #forget(ref: AttemptRef): void {
    const entry = this.#entries.get(keyOf(ref));
    if (!entry || entry.leaving) return;
    entry.leaving = true;
    if (!entry.run || entry.run.isOver)
      this.process.after(this.#world.chance.delay(50, 3000), () => this.#leave(entry));
  }

  /** The run is over and, if the master is through with it, all of it goes. */
  #leave(entry: Entry): void {
    if (!entry.leaving || entry.making || (entry.run && !entry.run.isOver)) return;
    const key = keyOf(entry.ref);
    if (this.#entries.get(key) !== entry) return;
    entry.journal.close();
    this.machine.disk.delete(key);
    this.#entries.delete(key);
    this.dispatch({ type: 'cleaned', ...entry.ref });
  }

  #exit(why: string): void {
    this.#world.note(() => `${this.process.name}: exits, ${why}`);
    this.machine.around.referee.exits(this.machine, why);
    this.#connection?.close('worker', CLOSE.normal, why);
    // What runs is settled first, within bounds.
    this.process.after(this.#world.chance.between(0, 3000), () => this.process.die());
  }
}

export { HANDSHAKE_MS };
