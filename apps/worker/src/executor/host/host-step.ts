import { deferred, FarmError } from '@impgem/kit';
import { closeSync, existsSync, openSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { OutputSink, RunningStep, StepExit } from '../executor.js';
import { FileTail } from './file-tail.js';
import type { LauncherClient } from './launcher-client.js';
import { fileOf, FILES } from './launcher-messages.js';
import type { ProcessExit, ProcessNote } from './launcher-messages.js';
import { inherit, launch, readNotes } from './step-process.js';
import type { Report, StepProcess } from './step-process.js';
import { killStrays } from './strays.js';

export interface HostAttachOrder {
  id: string;
  /** What the names of its files begin with; they are removed with the step. */
  files: string;
  sink: OutputSink;
}

export interface HostStepOrder extends HostAttachOrder {
  launcher: LauncherClient;
  launching: (ref: string) => Promise<void>;
  run: string;
  cwd: string;
  env: Record<string, string>;
}

/** Between a launcher's word that it starts a step and the process' number on disk, at most. */
const STARTED_WITHIN_MS = 10_000;
const LOOK_MS = 50;

/** A step that runs as processes of this machine, started by the launcher. */
export class HostStep implements RunningStep {
  readonly exited: Promise<StepExit>;
  /**
   * Settles when it was discarded and its files are gone; never rejects. Children that left the group end with the
   * workspace.
   */
  readonly removed: Promise<void>;
  readonly #discarded = deferred();
  #hasExited = false;
  #stopped = false;

  /** Rejects with a `FarmError` when the step cannot be started; nothing is left then. */
  static async start(order: HostStepOrder): Promise<HostStep> {
    const { launcher, launching, id, run, cwd, env, files, sink } = order;
    let process: StepProcess | undefined;
    const tail = FileTail.open(files, sink, {
      hold: () => process?.hold(),
      release: () => process?.release(),
    });
    try {
      await launching(id);
      const launched = await launch(launcher, { ask: 'start', id, run, cwd, env, files });
      if ('tell' in launched) throw cannotStart(launched);
      process = launched;
      return new HostStep(order, process, tail, false);
    } catch (error) {
      tail.finish();
      await tail.done;
      remove(files);
      throw error;
    }
  }

  /** Takes up the step that an earlier process had launched; undefined when it never ran, and never will. */
  static async attach(order: HostAttachOrder): Promise<HostStep | undefined> {
    const { files, sink } = order;
    if (!existsSync(fileOf(files, 'stdout')))
      throw new FarmError('worker-lost', 'its output is gone');
    const found = await foundIn(files);
    if (!found) {
      remove(files);
      return undefined;
    }
    const process = inherit(files, found.id);
    // Frozen since its output was behind, it may be.
    process.release();
    const tail = FileTail.open(files, sink, process);
    return new HostStep(order, process, tail, found.exit !== undefined);
  }

  private constructor(
    private readonly order: HostAttachOrder,
    private readonly process: StepProcess,
    private readonly tail: FileTail,
    readonly wasOver: boolean,
  ) {
    this.exited = this.#finish();
    const gone = async (): Promise<void> => {
      await Promise.all([this.exited, this.#discarded.promise]);
      remove(order.files);
    };
    this.removed = gone();
  }

  get pid(): number {
    return this.process.pid;
  }

  async stop(graceMs: number): Promise<void> {
    if (!this.#hasExited) {
      this.#stopped = true;
      this.tail.letGo();
      this.process.stop(graceMs);
    }
    await this.exited;
  }

  discard(): void {
    this.#discarded.resolve();
  }

  letGo(): void {
    this.tail.letGo();
  }

  async #finish(): Promise<StepExit> {
    const report = await this.process.ended;
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
    const failure = this.#failure(report);
    if (failure === undefined) return { exitCode };
    return {
      exitCode,
      reason: { code: 'worker-error', message: `its output could not be kept: ${failure}` },
    };
  }

  /** What happened to its output; undefined when all of it was passed on. */
  #failure({ lost, wrote }: ProcessExit): string | undefined {
    if (lost) return wordsOf(lost);
    if (this.tail.failure !== undefined) return String(this.tail.failure);
    for (const stream of ['stdout', 'stderr'] as const) {
      const read = this.tail.read(stream);
      if (wrote && read !== wrote[stream])
        return `of ${wrote[stream]} bytes of its ${stream} ${read} were found: somebody changed the file`;
    }
    return undefined;
  }

  async #killStrays(): Promise<void> {
    await killStrays((marker) => marker === this.order.id).catch(() => 0);
  }
}

/** What is left of it goes with the workspace. */
function remove(files: string): void {
  try {
    for (const name of FILES) rmSync(fileOf(files, name), { force: true });
  } catch {
    // As above.
  }
}

/** The process that the step became; undefined when it became none. Rejects when that cannot be known. */
async function foundIn(
  files: string,
): Promise<{ id: ProcessNote; exit?: ProcessExit } | undefined> {
  // From here on no launcher starts it any more, if none has yet.
  if (makes(fileOf(files, 'process'))) return undefined;
  for (let left = STARTED_WITHIN_MS; left > 0; left -= LOOK_MS) {
    const { id, exit } = await readNotes(files);
    if (exit?.failed) return undefined;
    if (id) return exit ? { id, exit } : { id };
    await delay(LOOK_MS);
  }
  throw new FarmError(
    'worker-lost',
    'the process that starts steps died while it started this one',
  );
}

/** True when the file was not there. */
function makes(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

const wordsOf = ({ code, message }: { code: string; message: string }): string =>
  code === 'ENOSPC' ? "the disk of the worker's data folder is full (ENOSPC)" : message;

function cannotStart(report: Report): FarmError {
  if (report.tell !== 'failed') {
    return new FarmError('worker-error', 'the process that starts steps went away');
  }
  const why =
    report.code === 'E2BIG'
      ? 'the environment or the text is too big for the system (one variable may have 128 KiB)'
      : report.code === 'ENOENT'
        ? existsSync('/bin/sh')
          ? 'the workdir is not there'
          : 'this machine has no shell /bin/sh'
        : report.message;
  return new FarmError('workspace-error', `the step cannot be started: ${why}`);
}

/** As a shell tells it: 128 and the number of the signal. */
function exitCodeOf({ code, signal }: ProcessExit): number {
  if (code !== null) return code;
  return 128 + (constants.signals[signal as NodeJS.Signals] ?? 0);
}
