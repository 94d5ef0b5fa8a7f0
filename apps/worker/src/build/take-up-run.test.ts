import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { BuildPlan, PlannedStep } from '@impgem/pipeline';
import { deferred, FarmError } from '@impgem/kit';
import * as fc from 'fast-check';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { inflateRawSync } from 'node:zlib';
import type {
  Executor,
  OutputSink,
  ReadFile,
  RunningStep,
  StepSpec,
  Workspace,
  WorkspaceFile,
} from '../executor/executor.js';
import { Budget, type Launch, type NewRecord } from '../spool/index.js';
import { advance, NOTHING } from '../spool/record.js';
import { BuildRun } from './build-run.js';
import type { Stop } from './stop.js';
import { Uploads } from './uploads.js';

// A process that died has no timers either.
beforeEach(() => void jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] }));
afterEach(() => void jest.useRealTimers());

/** What outlives a worker's process: a workspace, and steps with their output. */
class Machine {
  workspace: { files: string[] } | undefined;
  readonly steps = new Map<string, { spec: StepSpec; killed?: true }>();
  /** Names of the steps that ran, once for each time. */
  readonly ran: string[] = [];
  checkouts = 0;
  readonly sent: string[] = [];
}

/** Ends a process at one of its deeds: what is asked for then, and later, never comes about. */
class Life {
  deeds = 0;
  readonly over: Promise<void>;
  private end = (): void => {};
  constructor(private readonly lasts: number) {
    this.over = new Promise((resolve) => (this.end = resolve));
  }

  async deed(): Promise<void> {
    if (++this.deeds <= this.lasts) return;
    this.end();
    await new Promise(() => {});
  }
}

const outputOf = (spec: StepSpec): Buffer => Buffer.from(`\0${spec.run}\xff\n`.repeat(3), 'latin1');

/** An executor whose steps outlive it; every call that changes something is a deed. */
class LastingExecutor implements Executor {
  readonly name = 'docker';
  constructor(
    private readonly machine: Machine,
    private readonly life: Life,
  ) {}

  async open(): Promise<void> {}

  async createWorkspace(attempt: Workspace['attempt']): Promise<Workspace> {
    await this.life.deed();
    if (this.machine.workspace) throw new Error('there is a workspace already');
    this.machine.workspace = { files: [] };
    await this.life.deed();
    return this.found(attempt);
  }

  async reopenWorkspace(attempt: Workspace['attempt']): Promise<Workspace | undefined> {
    return this.machine.workspace && this.found(attempt);
  }

  private found(attempt: Workspace['attempt']): Workspace {
    const { machine, life } = this;
    return {
      attempt,
      unpack: async (tar) => {
        if (machine.workspace?.files.length !== 0) throw new Error('the workspace is not clean');
        machine.workspace.files.push('half');
        await life.deed();
        machine.workspace.files = ['source'];
        tar.destroy();
      },
      async *files(): AsyncIterable<WorkspaceFile> {
        yield { path: 'source', type: 'file', size: 0, mode: 0o644 };
      },
      read: async () => Readable.from([]),
      async *readMany(): AsyncIterable<ReadFile> {},
      dispose: async () => {
        await life.deed();
        machine.workspace = undefined;
        machine.steps.clear();
      },
    };
  }

  async start(
    _: Workspace,
    spec: StepSpec,
    { sink, launching }: Parameters<Executor['start']>[2],
  ): Promise<RunningStep> {
    await this.life.deed();
    const ref = `${spec.name} ${this.machine.steps.size}`;
    await launching(ref);
    await this.life.deed();
    this.machine.steps.set(ref, { spec });
    this.machine.ran.push(spec.name);
    return this.running(ref, sink);
  }

  async attach(_: Workspace, spec: StepSpec, ref: string, sink: OutputSink) {
    if (!this.machine.steps.has(ref)) {
      // Noted, but not begun: in this machine that is certain.
      if (!this.machine.ran.includes(spec.name)) return undefined;
      throw new FarmError('worker-lost', 'its container is gone');
    }
    return this.running(ref, sink);
  }

  private running(ref: string, sink: OutputSink): RunningStep {
    const { machine, life } = this;
    const step = machine.steps.get(ref);
    const killed = deferred();
    if (step?.killed) killed.resolve();
    const play = async () => {
      if (step?.spec.run === HANG) {
        await killed.promise;
        await life.deed();
        return { exitCode: 137 };
      }
      const bytes = step ? outputOf(step.spec) : Buffer.alloc(0);
      for (let at = 0; at < bytes.length; at += 7) await sink('stdout', bytes.subarray(at, at + 7));
      await life.deed();
      return { exitCode: 0 };
    };
    return {
      exited: play(),
      stop: async () => {
        await life.deed();
        if (step) step.killed = true;
        await life.deed();
        killed.resolve();
      },
      discard: () => void machine.steps.delete(ref),
    };
  }

  async sweep() {
    return { found: 0, stuck: [] };
  }
  async close(): Promise<void> {}
  async leave(): Promise<void> {}
}

/** What runs until it is killed. */
const HANG = 'do hang';

const command = (name: string): PlannedStep => ({ kind: 'run', name, run: `do ${name}`, env: {} });
const PLAN: BuildPlan = {
  builder: 'b',
  number: 1,
  steps: [
    { kind: 'checkout', name: 'checkout', env: {} },
    command('one'),
    command('two'),
    { kind: 'artifacts', name: 'artifacts', env: {} },
  ],
  artifacts: ['source'],
  properties: {},
  timeoutMs: 60_000,
  source: { git: 'https://git.example.org/x' },
};

/** The journal, as the processes leave it to each other. */
interface Disk {
  records: NewRecord[];
  launch?: Launch;
}

function uploadsOf(machine: Machine, life: Life): Uploads {
  const uploads = new Uploads();
  uploads.limits = async () => ({ frameBytes: 1, windowBytes: 1, artifactWindowBytes: 1 });
  uploads.send = async (_attempt, number, { path }) => {
    await life.deed();
    machine.sent.push(`${number} ${path}`);
    await life.deed();
  };
  return uploads;
}

/** One process of the worker: true when it came to the end of the build before its own. */
async function live(
  machine: Machine,
  disk: Disk,
  lasts: number,
  first: boolean,
  { steps = PLAN.steps, stop }: { steps?: PlannedStep[]; stop?: Stop } = {},
): Promise<boolean> {
  const life = new Life(lasts);
  const progress = disk.records.reduce(advance, NOTHING);
  const { launch } = disk;
  const earlier = { startedAt: Date.now(), progress, ...(launch ? { launch } : {}) };
  const run = new BuildRun(
    {
      attempt: { build: 1, epoch: 1 },
      slot: 0,
      plan: { ...PLAN, steps },
      append: async (record) => {
        await life.deed();
        disk.records.push(record);
      },
      launching: async (step, ref) => {
        await life.deed();
        disk.launch = { step, ref };
        // once it runs
        if (stop) setTimeout(() => run.interrupt(stop), 1000);
      },
      stopping: async (note) => {
        await life.deed();
        if (disk.launch) disk.launch = { ...disk.launch, stop: note };
      },
      ...(first ? {} : { earlier }),
    },
    {
      executor: new LastingExecutor(machine, life),
      uploads: uploadsOf(machine, life),
      budget: new Budget(Infinity),
      log: pino({ level: 'silent' }),
      checkout: async () => {
        await life.deed();
        machine.checkouts += 1;
        return { revision: 'abc', tar: Readable.from([]), outward: [] };
      },
    },
  );
  const whole = async (): Promise<boolean> => {
    if (!first) await run.reopen();
    await run.run();
    await run.dispose();
    return true;
  };
  return Promise.race([whole(), life.over.then(() => false)]);
}

const stdoutOf = ({ records }: Disk, step: number): Buffer =>
  Buffer.concat(
    records.flatMap((record) =>
      record.kind === 'log' && record.frame.step === step && record.frame.stream === 'stdout'
        ? [inflateRawSync(record.frame.payload, { finishFlush: 2 })]
        : [],
    ),
  );

const kindsOf = ({ records }: Disk) =>
  records.flatMap((record) => (record.kind === 'event' ? [record.event] : []));

describe('a build whose worker dies again and again', () => {
  it('has one history, each command runs once, and each log is whole', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(45), { maxLength: 5 }), async (lives) => {
        const machine = new Machine();
        const disk: Disk = { records: [] };
        let over = false;
        for (const [at, lasts] of [...lives, Infinity].entries()) {
          over = await live(machine, disk, lasts, at === 0);
          if (over || disk.records.reduce(advance, NOTHING).finished) break;
        }
        expect(kindsOf(disk)).toMatchObject([
          { kind: 'build.started' },
          { kind: 'step.started', step: 0 },
          { kind: 'property.set', value: 'abc' },
          { kind: 'step.finished', step: 0, result: 'success' },
          { kind: 'step.started', step: 1 },
          { kind: 'step.finished', step: 1, result: 'success' },
          { kind: 'step.started', step: 2 },
          { kind: 'step.finished', step: 2, result: 'success' },
          { kind: 'step.started', step: 3 },
          { kind: 'step.finished', step: 3, result: 'success' },
          { kind: 'build.finished', result: 'success' },
        ]);
        expect(machine.ran).toEqual(['one', 'two']);
        expect(new Set(machine.sent)).toEqual(new Set(['0 source']));
        for (const [step, run] of [
          [1, 'do one'],
          [2, 'do two'],
        ] as const)
          expect(stdoutOf(disk, step)).toEqual(outputOf({ run } as StepSpec));
      }),
      { numRuns: 80 },
    );
  });

  it.each([
    ['its workspace', (machine: Machine) => (machine.workspace = undefined), 'workspace is gone'],
    ['a step that had run', (machine: Machine) => machine.steps.clear(), 'container is gone'],
  ])('is for another attempt when %s is gone', async (_, remove, why) => {
    const machine = new Machine();
    const disk: Disk = { records: [] };
    for (let lasts = 0; machine.ran.length < 1; lasts++) {
      machine.workspace = undefined;
      machine.steps.clear();
      disk.records = [];
      delete disk.launch;
      await live(machine, disk, lasts, true);
    }
    remove(machine);
    expect(await live(machine, disk, Infinity, false)).toBe(true);
    const events = kindsOf(disk);
    expect(events.at(-1)).toMatchObject({
      kind: 'build.finished',
      result: 'retry',
      reason: { code: 'worker-lost', message: expect.stringContaining(why) },
    });
    expect(
      events
        .filter(({ kind }) => kind === 'step.finished')
        .map((one) => 'result' in one && one.result),
    ).toEqual(['success', 'retry', 'skipped', 'skipped']);
    expect(machine.ran).toEqual(['one']);
    expect(machine.workspace).toBeUndefined();
  });
});

describe('a build whose worker dies while it stops a step', () => {
  const reasons = {
    cancel: { code: 'cancelled', message: 'by admin' },
    halt: { code: 'draining', message: 'the worker stops' },
  };
  const cases = [
    { what: 'cancelled', stop: { kind: 'cancel', reason: reasons.cancel } },
    { what: 'retry', stop: { kind: 'halt', reason: reasons.halt } },
    { what: 'failure', code: 'step-timeout' },
  ] satisfies { what: string; stop?: Stop; code?: string }[];

  it.each(cases)('ends as it would have: $what', async ({ what, stop, code }) => {
    const steps = [{ ...command('hang'), ...(stop ? {} : { timeoutMs: 1000 }) }];
    const plan = { steps, ...(stop ? { stop } : {}) };
    const taken = [];
    for (let lasts = 0, over = false; !over; lasts++) {
      const machine = new Machine();
      const disk: Disk = { records: [] };
      const first = live(machine, disk, lasts, true, plan);
      await jest.advanceTimersByTimeAsync(2000);
      over = await first;
      // without the step being touched it would run on
      const touched = [...machine.steps.values()].some(({ killed }) => killed);
      if (over || !touched) continue;
      const second = live(machine, disk, Infinity, false, { steps });
      expect(await second).toBe(true);
      expect(kindsOf(disk).slice(-2)).toMatchObject([
        { kind: 'step.finished', result: what, reason: { code: stop?.reason.code ?? code } },
        { kind: 'build.finished', result: what, reason: { code: stop?.reason.code ?? code } },
      ]);
      taken.push(lasts);
    }
    expect(taken.length).toBeGreaterThan(1);
  });
});
