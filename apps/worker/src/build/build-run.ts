import { FarmError, invariant } from '@impgem/kit';
import { combine, worse, type BuildPlan, type PlannedStep, type Result } from '@impgem/pipeline';
import { reasonOf, type BuildEvent, type Reason } from '@impgem/protocol';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Attempt, Executor, Workspace } from '../executor/executor.js';
import {
  REVISION,
  type Budget,
  type NewRecord,
  type OpenStep,
  type StopNote,
} from '../spool/index.js';
import type { checkout } from '../workspace/index.js';
import { collectArtifacts } from './artifacts-step.js';
import { runCommand, type Done } from './command-step.js';
import { StepLog } from './step-log.js';
import {
  after,
  failedEnding,
  stoppedEnding,
  Stopper,
  tooLong,
  tooMuch,
  type Ending,
  type Stop,
} from './stop.js';
import { endingOfLoss, lostEnding, workspaceNeed, type Earlier } from './take-up.js';
import type { Uploads } from './uploads.js';

/** What a build needs around it. */
export interface BuildSurroundings {
  executor: Executor;
  uploads: Uploads;
  /** Room for output in the spool. */
  budget: Pick<Budget, 'full' | 'exhausted' | 'room'>;
  /** Bytes of output that a step may make; none when absent. */
  stepLog?: number;
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
  /** Notes beside the journal that a step is about to run. */
  launching: (step: number, ref: string) => Promise<void>;
  /** Notes there that it is about to be stopped. */
  stopping: (stop: StopNote) => Promise<void>;
  /** Set when an earlier process began it. */
  earlier?: Earlier;
}

/** How long after a build's time is up it is looked at again while its artifacts wait for the master. */
const PATIENCE_MS = 10_000;

/**
 * An engine that does not answer is being restarted, as a rule: a build that could not begin waits so long for it, or
 * all attempts of its request would be used up within a second.
 */
const ENGINE_AWAY_MS = 60_000;
const ENGINE_AGAIN_MS = 500;
const isAway = (error: unknown): boolean =>
  error instanceof FarmError && error.code === 'engine-unavailable';

/** One step under way. */
interface Act {
  index: number;
  step: PlannedStep;
  before: Result;
  log: StepLog;
  stopper: Stopper;
  /** How far an earlier process came with it. */
  open: OpenStep | undefined;
  /** Settles when the journal tells of its beginning. */
  begun: Promise<void> | undefined;
}

/**
 * Runs one build: its steps in order, everything said in the journal. A failed step ends the steps behind it as
 * `skipped`, but for the collecting of artifacts, which is done unless the build is stopped or the
 * infrastructure failed: what a failed test wrote is what one wants to see.
 *
 * A build that an earlier process began goes on where its journal ends: `reopen`, then `run`. A command that runs
 * is taken up, one that was never launched begins, one that was being stopped ends as that; a checkout and the
 * collecting of artifacts are done again. What cannot be taken up ends as `retry`.
 */
export class BuildRun {
  private readonly zero: number;
  private stop: Stop | undefined;
  private stopper: Stopper | undefined;
  private workspace: Workspace | undefined;
  /** Settles when the workspace is there, or cannot be made; see `open`. */
  private opening: Promise<Ending | undefined> | undefined;
  /** Why there is no workspace to take up. */
  private lost: Ending | undefined;
  private timer: NodeJS.Timeout | undefined;
  private collecting = false;

  constructor(
    private readonly order: BuildOrder,
    private readonly around: BuildSurroundings,
  ) {
    const { earlier } = order;
    const spentMs = earlier ? Math.max(0, Date.now() - earlier.startedAt) : 0;
    this.zero = performance.now() - spentMs;
    // What the earlier process had begun to stop is stopped, whether or not it came to that.
    if (earlier?.launch?.stop?.whole) this.stop = earlier.launch.stop;
  }

  /** Ends the build before its own end; the first word counts, but that an `abandon` goes over all others. */
  interrupt(stop: Stop): void {
    if (this.stop && stop.kind !== 'abandon') return;
    this.stop = stop;
    this.stopper?.set(stop);
  }

  /**
   * Finds the workspace that an earlier process made, so that nothing sweeps it away. What fails is told by `run`;
   * never rejects.
   */
  async reopen(): Promise<void> {
    const { attempt, slot, earlier, plan } = this.order;
    invariant(earlier, 'there was an earlier process');
    const need = workspaceNeed(earlier, plan.steps);
    try {
      const found = await this.around.executor.reopenWorkspace(attempt, slot);
      if (need === 'kept' && found) this.workspace = found;
      else await found?.dispose();
      if (need === 'kept' && !found) this.lost = lostEnding('its workspace is gone');
      if (typeof need === 'object') this.lost = lostEnding(need.lost);
    } catch (error) {
      this.around.log.error({ err: error }, 'a build of an earlier process cannot be taken up');
      this.lost = failedEnding(error);
    }
  }

  /** Settles when `build.finished` is in the journal (never written after an `abandon`). Rejects when the journal is broken. */
  async run(): Promise<void> {
    const { plan, earlier } = this.order;
    const { started = false, endings: had = [], open } = earlier?.progress ?? {};
    this.collecting = open !== undefined && plan.steps[had.length]?.kind === 'artifacts';
    this.watch(plan.timeoutMs - this.now());
    try {
      const begun = started ? undefined : this.early({ kind: 'build.started' });
      const opened = this.lost ?? (await (this.opening ??= this.open()));
      await begun;
      const endings: Ending[] = [...had];
      for (const [index, step] of plan.steps.entries()) {
        if (index < had.length) continue;
        const begun = index === had.length ? open : undefined;
        const before = combine(endings.map(({ result }) => result));
        const runs = opened === undefined && (begun !== undefined || this.runs(step, before));
        if (runs) endings.push(await this.perform(index, step, before, begun));
        else if (begun && opened) endings.push(await this.conclude(index, begun, opened));
        else endings.push(await this.pass(index));
      }
      await this.finish(opened ? [opened, ...endings] : endings, opened ? -1 : 0);
    } finally {
      clearTimeout(this.timer);
    }
  }

  /** Makes the workspace, before there is a journal to tell of it; for a build that is new here. */
  begin(): void {
    this.opening ??= this.open();
  }

  /** Removes the workspace and all that was made for the build. */
  async dispose(): Promise<void> {
    await this.opening;
    await this.workspace?.dispose();
  }

  /** Makes the workspace if there is none; an ending when that failed. */
  private async open(): Promise<Ending | undefined> {
    const { attempt, slot } = this.order;
    const last = performance.now() + ENGINE_AWAY_MS;
    for (;;) {
      try {
        this.workspace ??= await this.around.executor.createWorkspace(attempt, slot);
        return undefined;
      } catch (error) {
        this.around.log.error({ err: error }, 'no workspace');
        if (!isAway(error) || this.stop || performance.now() > last) return failedEnding(error);
      }
      await delay(ENGINE_AGAIN_MS);
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

  /** A step that was begun and cannot go on. What it wrote after the last record is unknown: no checksums. */
  private async conclude(step: number, open: OpenStep, ending: Ending): Promise<Ending> {
    const log = this.logOf(step, open);
    if (ending.reason) log.say(ending.reason.message);
    const sum = await log.end();
    await this.record({ kind: 'step.finished', step, ...ending, log: sum });
    return ending;
  }

  private async perform(
    index: number,
    step: PlannedStep,
    before: Result,
    open: OpenStep | undefined,
  ): Promise<Ending> {
    const begun = open ? undefined : this.early({ kind: 'step.started', step: index });
    const stopper = (this.stopper = new Stopper());
    const log = this.logOf(index, open, stopper);
    const { launch } = this.order.earlier ?? {};
    if (this.stop) stopper.set(this.stop);
    else if (open && launch?.step === index && launch.stop) stopper.set(launch.stop);
    this.collecting = step.kind === 'artifacts';
    if (open) log.sayRestarted();
    let done: Done;
    try {
      done = await this.act({ index, step, before, log, stopper, open, begun });
    } catch (error) {
      done = { ending: this.failed(index, error, stopper), discard: () => {} };
    } finally {
      stopper.end();
      this.stopper = undefined;
    }
    await begun;
    const ending = await this.close(index, log, done.ending, stopper);
    done.discard();
    return ending;
  }

  /** Ends the log and writes the step's end. */
  private async close(step: number, log: StepLog, by: Ending, stopper: Stopper): Promise<Ending> {
    let ending = by;
    if (ending.reason) log.say(ending.reason.message);
    const sum = await log.end();
    const { result } = ending;
    if (!log.isExact && !stopper.stop && result !== 'exception' && result !== 'retry')
      ending = lostEnding('the output that the step had is not there any more');
    await this.record({ kind: 'step.finished', step, ...ending, log: sum });
    return ending;
  }

  private failed(step: number, error: unknown, stopper: Stopper): Ending {
    const ending = stopper.stop
      ? stoppedEnding(stopper.stop)
      : (endingOfLoss(error) ?? failedEnding(error));
    if (ending.result === 'exception' || ending.result === 'retry')
      this.around.log.warn({ step, err: error }, 'a step could not be run');
    return ending;
  }

  private async act(act: Act): Promise<Done> {
    const { plan, attempt, earlier, launching, stopping } = this.order;
    const { index, step, before, log, stopper, open, begun } = act;
    const { executor, uploads } = this.around;
    const workspace = this.workspace;
    invariant(workspace, 'a step has a workspace');
    const arm = (): void => {
      const spentMs = open ? this.now() - open.atMs : 0;
      if (step.timeoutMs !== undefined) stopper.limit(step.timeoutMs, spentMs);
    };
    if (step.kind === 'run') {
      const launch = open && earlier?.launch;
      return runCommand({
        executor,
        workspace,
        index,
        step,
        log,
        stopper,
        arm,
        launching: async (ref) => {
          await begun;
          await launching(index, ref);
        },
        stopping: async ({ kind, reason }) => {
          const whole = this.stop !== undefined;
          if (kind !== 'abandon') await stopping({ kind, reason, whole });
        },
        ...(launch?.step === index ? { launched: launch.ref } : {}),
        again: (open?.log.bytes ?? 0) > 0,
      });
    }
    arm();
    const { signal } = stopper;
    const globs = plan.artifacts;
    const ending =
      step.kind === 'checkout'
        ? await this.bring(workspace, log, stopper, open?.revision)
        : await collectArtifacts({ attempt, workspace, globs, before, uploads, log, signal });
    return { ending, discard: () => {} };
  }

  /** Brings the source, unless it is there: `had`. */
  private async bring(
    workspace: Workspace,
    log: StepLog,
    { signal }: Stopper,
    had: string | undefined,
  ): Promise<Ending> {
    const { source } = this.order.plan;
    if (!source) return { result: 'skipped' };
    const say = (line: string): void => log.say(line);
    if (had === undefined) {
      const { revision, tar, outward } = await this.around.checkout({ source, log: say, signal });
      const abort = (): void => void tar.destroy(signal.reason as Error);
      signal.addEventListener('abort', abort, { once: true });
      try {
        signal.throwIfAborted();
        await workspace.unpack(tar, outward);
      } finally {
        signal.removeEventListener('abort', abort);
        tar.destroy();
      }
      await this.record({ kind: 'property.set', name: REVISION, value: revision });
      had = revision;
    }
    log.say(`checked out ${had}`);
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
    return reasonOf(reason.code, `step ${step.name}: ${reason.message}`);
  }

  private logOf(step: number, open: OpenStep | undefined, stopper?: Stopper): StepLog {
    const { stepLog } = this.around;
    return new StepLog({
      append: (record) => this.keep(record),
      attempt: this.order.attempt,
      step,
      zero: this.zero,
      budget: this.around.budget,
      ...(open ? { from: open.log } : {}),
      ...(stepLog === undefined
        ? {}
        : { limit: stepLog, onLimit: () => stopper?.set(tooMuch(stepLog)) }),
    });
  }

  /** Milliseconds after the build's zero of time. */
  private now(): number {
    return Math.max(0, Math.round(performance.now() - this.zero));
  }

  /** The same, while what follows is prepared already: it is to be awaited before anything comes of that. */
  private early(event: BuildEvent): Promise<void> {
    const written = this.record(event);
    written.catch(() => {});
    return written;
  }

  private async record(event: BuildEvent): Promise<void> {
    await this.keep({ kind: 'event', atMs: this.now(), event });
  }

  /** Nothing is said of a build that is not ours any more. */
  private async keep(record: NewRecord): Promise<void> {
    if (this.stop?.kind !== 'abandon') await this.order.append(record);
  }

  private watch(ms: number): void {
    this.timer = after(ms, () => {
      // Artifacts that wait for the master to come back are not late by the build's fault.
      if (this.collecting && !this.around.uploads.isOnline) return this.watch(PATIENCE_MS);
      this.interrupt(tooLong('build', this.order.plan.timeoutMs));
    });
  }
}
