import { invariant } from '@impgem/kit';
import { combine, worse, type BuildPlan, type PlannedStep, type Result } from '@impgem/pipeline';
import type { BuildEvent, Reason } from '@impgem/protocol';
import type { Logger } from 'pino';
import type { Attempt, Executor, Workspace } from '../executor/executor.js';
import type { NewRecord } from '../spool/index.js';
import type { checkout } from '../workspace/index.js';
import { collectArtifacts } from './artifacts-step.js';
import { runCommand } from './command-step.js';
import { StepLog } from './step-log.js';
import { failedEnding, stoppedEnding, Stopper, type Ending, type Stop } from './stop.js';
import type { Uploads } from './uploads.js';

/** What a build needs around it. */
export interface BuildSurroundings {
  executor: Executor;
  uploads: Uploads;
  /** Brings the source; with the worker's own settings filled in. */
  checkout: (
    order: Pick<Parameters<typeof checkout>[0], 'source' | 'log' | 'signal'>,
  ) => ReturnType<typeof checkout>;
  log: Logger;
}

export interface BuildOrder {
  attempt: Attempt;
  slot: number;
  plan: BuildPlan;
  /** Writes into the build's journal; settles when it is there. */
  append: (record: NewRecord) => Promise<unknown>;
}

/** How long after a build's time is up it is looked at again while its artifacts wait for the master. */
const PATIENCE_MS = 10_000;

/**
 * Runs one build: its steps in order, everything said in the journal. A failed step ends the steps behind it as
 * `skipped`, but for the collecting of artifacts, which is done unless the build is stopped or the
 * infrastructure failed: what a failed test wrote is what one wants to see.
 */
export class BuildRun {
  private readonly zero = performance.now();
  private stop: Stop | undefined;
  private stopper: Stopper | undefined;
  private workspace: Workspace | undefined;
  private timer: NodeJS.Timeout | undefined;
  private collecting = false;

  constructor(
    private readonly order: BuildOrder,
    private readonly around: BuildSurroundings,
  ) {}

  /** Ends the build before its own end; the first word counts, but that an `abandon` goes over all others. */
  interrupt(stop: Stop): void {
    if (this.stop && stop.kind !== 'abandon') return;
    this.stop = stop;
    this.stopper?.set(stop);
  }

  /** Settles when `build.finished` is in the journal (never written after an `abandon`). Rejects when the journal is broken. */
  async run(): Promise<void> {
    const { plan } = this.order;
    this.watch(plan.timeoutMs);
    try {
      await this.record({ kind: 'build.started' });
      const opened = await this.open();
      const endings: Ending[] = [];
      for (const [index, step] of plan.steps.entries()) {
        const before = combine(endings.map(({ result }) => result));
        const runs = opened === undefined && this.runs(step, before);
        endings.push(runs ? await this.perform(index, step, before) : await this.pass(index));
      }
      await this.finish(opened ? [opened, ...endings] : endings, opened ? -1 : 0);
    } finally {
      clearTimeout(this.timer);
    }
  }

  /** Removes the workspace and all that was made for the build. */
  async dispose(): Promise<void> {
    await this.workspace?.dispose();
  }

  /** Makes the workspace; an ending when that failed. */
  private async open(): Promise<Ending | undefined> {
    const { attempt, slot } = this.order;
    try {
      this.workspace = await this.around.executor.createWorkspace(attempt, slot);
      return undefined;
    } catch (error) {
      this.around.log.error({ err: error }, 'no workspace');
      return failedEnding(error);
    }
  }

  private runs(step: PlannedStep, before: Result): boolean {
    if (this.stop) return false;
    if (before === 'success' || before === 'warnings') return true;
    return step.kind === 'artifacts' && before === 'failure';
  }

  /** A step that is not run. */
  private async pass(step: number): Promise<Ending> {
    await this.record({
      kind: 'step.finished',
      step,
      result: 'skipped',
      log: { bytes: 0, sha256: {} },
    });
    return { result: 'skipped' };
  }

  private async perform(index: number, step: PlannedStep, before: Result): Promise<Ending> {
    const { attempt, append } = this.order;
    await this.record({ kind: 'step.started', step: index });
    const log = new StepLog((record) => this.keep(append, record), attempt, index, this.zero);
    const stopper = (this.stopper = new Stopper());
    if (this.stop) stopper.set(this.stop);
    this.collecting = step.kind === 'artifacts';
    const timer = step.timeoutMs === undefined ? undefined : limit(stopper, step.timeoutMs);
    let ending: Ending;
    try {
      ending = await this.act(index, step, before, log, stopper);
    } catch (error) {
      ending = stopper.stop ? stoppedEnding(stopper.stop) : failedEnding(error);
      if (ending.result === 'exception')
        this.around.log.warn({ step: index, err: error }, 'a step could not be run');
    } finally {
      clearTimeout(timer);
      this.stopper = undefined;
    }
    if (ending.reason) log.say(ending.reason.message);
    const sum = await log.end();
    await this.record({ kind: 'step.finished', step: index, ...ending, log: sum });
    return ending;
  }

  private async act(
    index: number,
    step: PlannedStep,
    before: Result,
    log: StepLog,
    stopper: Stopper,
  ): Promise<Ending> {
    const { plan, attempt } = this.order;
    const { executor, uploads } = this.around;
    const workspace = this.workspace;
    invariant(workspace, 'a step has a workspace');
    switch (step.kind) {
      case 'checkout':
        return this.bring(workspace, log, stopper);
      case 'run':
        return runCommand({ executor, workspace, index, step, log, stopper });
      case 'artifacts':
        return collectArtifacts({
          attempt,
          workspace,
          globs: plan.artifacts,
          before,
          uploads,
          log,
          signal: stopper.signal,
        });
    }
  }

  private async bring(workspace: Workspace, log: StepLog, { signal }: Stopper): Promise<Ending> {
    const { source } = this.order.plan;
    if (!source) return { result: 'skipped' };
    const say = (line: string): void => log.say(line);
    const { revision, tar } = await this.around.checkout({ source, log: say, signal });
    const abort = (): void => void tar.destroy(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    try {
      signal.throwIfAborted();
      await workspace.unpack(tar);
    } finally {
      signal.removeEventListener('abort', abort);
      tar.destroy();
    }
    await this.record({ kind: 'property.set', name: 'got_revision', value: revision });
    log.say(`checked out ${revision}`);
    return { result: 'success' };
  }

  private async finish(endings: readonly Ending[], shift: number): Promise<void> {
    const result = combine(endings.map((ending) => ending.result));
    const stopped = this.stop && stoppedEnding(this.stop);
    const overall = stopped ? worse(result, stopped.result) : result;
    const at = endings.findIndex((ending) => ending.result === result);
    const reason = stopped?.reason ?? this.because(endings[at]?.reason, at + shift);
    await this.record({ kind: 'build.finished', result: overall, ...(reason ? { reason } : {}) });
  }

  /** A step's reason, with the step's name. */
  private because(reason: Reason | undefined, index: number): Reason | undefined {
    const step = this.order.plan.steps[index];
    if (!reason || !step) return reason;
    return { code: reason.code, message: `step ${step.name}: ${reason.message}`.slice(0, 2000) };
  }

  private async record(event: BuildEvent): Promise<void> {
    const atMs = Math.max(0, Math.round(performance.now() - this.zero));
    await this.keep(this.order.append, { kind: 'event', atMs, event });
  }

  /** Nothing is said of a build that is not ours any more. */
  private async keep(append: BuildOrder['append'], record: NewRecord): Promise<void> {
    if (this.stop?.kind !== 'abandon') await append(record);
  }

  private watch(ms: number): void {
    this.timer = setTimeout(
      () => {
        // Artifacts that wait for the master to come back are not late by the build's fault.
        if (this.collecting && !this.around.uploads.isOnline) return this.watch(PATIENCE_MS);
        const message = `the build took longer than ${seconds(this.order.plan.timeoutMs)}`;
        this.interrupt({ kind: 'timeout', reason: { code: 'build-timeout', message } });
      },
      Math.min(ms, 2 ** 31 - 1),
    );
  }
}

const seconds = (ms: number): string => `${ms / 1000} s`;

function limit(stopper: Stopper, ms: number): NodeJS.Timeout {
  const reason = { code: 'step-timeout', message: `the step took longer than ${seconds(ms)}` };
  return setTimeout(() => stopper.set({ kind: 'timeout', reason }), Math.min(ms, 2 ** 31 - 1));
}
