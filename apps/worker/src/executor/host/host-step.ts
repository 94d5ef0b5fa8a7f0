import { deferred, FarmError } from '@impgem/kit';
import { mkdir, rm } from 'node:fs/promises';
import { constants } from 'node:os';
import type { OutputSink, RunningStep, StepExit } from '../executor.js';
import { FileTail } from './file-tail.js';
import type { LauncherClient } from './launcher-client.js';
import type { LauncherReport, ProcessExit } from './launcher-messages.js';
import { killStrays } from './strays.js';

export interface HostStepOrder {
  launcher: LauncherClient;
  id: string;
  run: string;
  cwd: string;
  env: Record<string, string>;
  /** For output and exit code; made here, removed with the step. */
  folder: string;
  sink: OutputSink;
}

type Report = LauncherReport | { tell: 'lost' };

/** A step that runs as processes of this machine, started by the launcher. */
export class HostStep implements RunningStep {
  readonly exited: Promise<StepExit>;
  /** Settles when its files are gone; never rejects. Children that left the group end with the workspace. */
  readonly removed: Promise<void>;
  #hasExited = false;
  #stopped = false;

  /** Rejects with a `FarmError` when the step cannot be started; nothing is left then. */
  static async start(order: HostStepOrder): Promise<HostStep> {
    const { launcher, id, run, cwd, env, folder } = order;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const tail = await FileTail.open(folder, order.sink, {
      hold: () => launcher.ask({ ask: 'hold', id }),
      release: () => launcher.ask({ ask: 'release', id }),
    });
    const started = deferred<Report>();
    const ended = deferred<Report>();
    launcher.start({ ask: 'start', id, run, cwd, env, folder }, (report) => {
      started.resolve(report);
      if (report.tell !== 'started') ended.resolve(report);
    });
    const first = await started.promise;
    if (first.tell === 'failed' || first.tell === 'lost') {
      launcher.forget(id);
      tail.finish();
      await tail.done;
      await rm(folder, { recursive: true, force: true });
      throw cannotStart(first);
    }
    return new HostStep(order, tail, ended.promise, first.tell === 'started' ? first.pid : 0);
  }

  private constructor(
    private readonly order: HostStepOrder,
    private readonly tail: FileTail,
    ended: Promise<Report>,
    /** Of its shell. */
    readonly pid: number,
  ) {
    this.exited = this.#finish(ended);
    this.removed = this.exited.then(() => this.#remove());
  }

  async stop(graceMs: number): Promise<void> {
    if (!this.#hasExited) {
      this.#stopped = true;
      this.tail.letGo();
      this.order.launcher.ask({ ask: 'stop', id: this.order.id, graceMs });
    }
    await this.exited;
  }

  async #finish(ended: Promise<Report>): Promise<StepExit> {
    const { launcher, id } = this.order;
    const report = await ended;
    launcher.forget(id);
    // Those that left the group could go on working for a build that is over; a stop reaches them first.
    if (this.#stopped || report.tell === 'lost') await this.#killStrays();
    this.tail.finish();
    await this.tail.done;
    this.#hasExited = true;
    if (report.tell !== 'exited') {
      const message = 'the process that starts steps went away';
      return { reason: { code: 'worker-error', message } };
    }
    const exitCode = exitCodeOf(report);
    const { failure } = this.tail;
    if (failure === undefined) return { exitCode };
    return {
      exitCode,
      reason: { code: 'worker-error', message: `its output could not be kept: ${String(failure)}` },
    };
  }

  async #remove(): Promise<void> {
    await rm(this.order.folder, { recursive: true, force: true }).catch(() => {});
  }

  async #killStrays(): Promise<void> {
    await killStrays((marker) => marker === this.order.id).catch(() => 0);
  }
}

function cannotStart(report: Report): FarmError {
  if (report.tell !== 'failed') {
    return new FarmError('worker-error', 'the process that starts steps went away');
  }
  const why =
    report.code === 'E2BIG'
      ? 'the environment or the text is too big for the system (one variable may have 128 KiB)'
      : report.code === 'ENOENT'
        ? 'the workdir is not there'
        : report.message;
  return new FarmError('workspace-error', `the step cannot be started: ${why}`);
}

/** As a shell tells it: 128 and the number of the signal. */
function exitCodeOf({ code, signal }: ProcessExit): number {
  if (code !== null) return code;
  return 128 + (constants.signals[signal as NodeJS.Signals] ?? 0);
}
