import { deferred } from '@impgem/kit';
import type Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { OutputSink, RunningStep, StepExit } from '../executor.js';
import {
  engineFailure,
  exitOf,
  keptOutput,
  removeInsisting,
  statusOf,
  unlessGone,
  wordsOf,
} from './engine.js';
import { KeptFrames } from './kept-frames.js';
import { StepOutput, type Brake } from './step-output.js';

/** After KILL an engine that works reports the exit within this, in milliseconds. */
const KILLED_WITHIN_MS = 15_000;
/** Between the end of the output and the exit of a step that works. */
const EXIT_AFTER_OUTPUT_MS = 5_000;
/** Between the exit and the end of the output, when nothing comes any more. */
const OUTPUT_AFTER_EXIT_MS = 10_000;
/** An engine may learn of the memory event a little after the exit. */
const OOM_TRIES = 5;
const OOM_WAIT_MS = 20;
const KILLED = 137;
/** The engine's answer to a start that comes again. */
const STARTED_BEFORE = 304;
/** When a container that was taken up is looked at again, in milliseconds after the look before. */
const THAW_MS = [500, 2_000, 10_000, 30_000];

export interface DockerStepOrder {
  engine: Docker;
  sink: OutputSink;
}

export interface DockerStartOrder extends DockerStepOrder {
  options: Docker.ContainerCreateOptions;
  launching: (ref: string) => Promise<void>;
}

/** A step in its container. Made, watched and removed here. */
export class DockerStep implements RunningStep {
  readonly exited: Promise<StepExit>;
  /** Settles when it was discarded and the container and its anonymous volumes are gone, or cannot be removed now. */
  readonly removed: Promise<void>;
  readonly #discarded = deferred();
  readonly #gaveUp = deferred<StepExit>();
  #stopping: Promise<void> | undefined;
  #hasExited = false;

  /**
   * Creates, attaches, starts, in that order, so that no byte and no exit is missed. Rejects with the engine's
   * error; nothing is left then.
   */
  static async start(order: DockerStartOrder): Promise<DockerStep> {
    const container = await order.engine.createContainer(order.options);
    try {
      const attached = await container.attach({ stream: true, stdout: true, stderr: true });
      const stream = attached as unknown as Readable;
      const output = new StepOutput(stream, order.sink, brakeOf(container));
      try {
        await order.launching(container.id);
        await container.start();
      } catch (error) {
        output.cut();
        throw error;
      }
      return new DockerStep(container, output, order, 'attached');
    } catch (error) {
      await removeContainer(container);
      throw error;
    }
  }

  /**
   * Takes up the container that an earlier process was about to start, or had started. Its start is asked for
   * once more where it is not seen yet: the process may have died before it asked, or the engine may be at it, and
   * either way it then runs once. Undefined when the engine refuses, so that it never ran; it is removed then.
   */
  static async attach(container: Docker.Container, order: DockerStepOrder) {
    const { State } = await container.inspect();
    if (State.Status === 'created') {
      try {
        await container.start();
      } catch (error) {
        const status = statusOf(error);
        if (status === undefined) throw error;
        if (status !== STARTED_BEFORE) {
          await removeContainer(container);
          return undefined;
        }
      }
    }
    const over = State.Status === 'exited';
    if (State.Paused) await unlessGone(container.unpause(), true);
    const stream = await keptOutput(order.engine, container.id, !over);
    const kept = new KeptFrames();
    const output = new StepOutput(stream, order.sink, brakeOf(container), undefined, kept);
    const step = new DockerStep(container, output, order, over ? 'over' : 'followed', kept);
    // What stays frozen is thawed by whoever takes it up next.
    if (!over) step.#thaw().catch(() => undefined);
    return step;
  }

  private constructor(
    private readonly container: Docker.Container,
    private readonly output: StepOutput,
    private readonly order: DockerStepOrder,
    private readonly how: 'attached' | 'followed' | 'over',
    /** Of what decides the end, where that was not read as it came. */
    private kept?: KeptFrames,
  ) {
    this.exited = Promise.race([this.#finish(), this.#gaveUp.promise]);
    const gone = async (): Promise<void> => {
      await this.exited;
      this.#hasExited = true;
      await this.#discarded.promise;
      await removeContainer(container);
    };
    this.removed = gone();
  }

  get wasOver(): boolean {
    return this.how === 'over';
  }

  discard(): void {
    this.#discarded.resolve();
  }

  letGo(): Promise<void> {
    return this.output.letGo();
  }

  /** A freeze that the earlier process asked for last may take effect when the container was looked at already. */
  async #thaw(): Promise<void> {
    for (const ms of THAW_MS) {
      if (await this.#exitsWithin(ms)) return;
      try {
        if (!this.output.holds && (await this.container.inspect()).State.Paused)
          await this.container.unpause();
      } catch {
        // It ended meanwhile, or the engine is away, which others notice.
      }
    }
  }

  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#end(graceMs);
    return this.#stopping;
  }

  async #end(graceMs: number): Promise<void> {
    if (this.#hasExited) return;
    await this.output.letGo();
    if (graceMs > 0) {
      await this.#kill('SIGTERM');
      if (await this.#exitsWithin(graceMs)) return;
    }
    await this.#kill('SIGKILL');
    if (await this.#exitsWithin(KILLED_WITHIN_MS)) return;
    const message = 'the Docker Engine did not end the step';
    this.#gaveUp.resolve({ reason: { code: 'engine-unavailable', message } });
    await this.exited;
  }

  async #kill(signal: string): Promise<void> {
    try {
      await unlessGone(this.container.kill({ signal }), true);
    } catch {
      // An engine that does not answer is met by the deadline.
    }
  }

  async #exitsWithin(ms: number): Promise<boolean> {
    const cancel = new AbortController();
    const late = delay(ms, false, { signal: cancel.signal }).catch(() => false);
    const inTime = await Promise.race([this.exited.then(() => true), late]);
    cancel.abort();
    return inTime;
  }

  async #finish(): Promise<StepExit> {
    try {
      // Begun after the start returned: 'not-running' then cannot miss the exit, however short the step.
      const waited = exitOf(this.container);
      waited.catch(() => {});
      const early = await Promise.race([
        waited.then(() => false),
        this.output.done.then(() => true),
      ]);
      const prompt = !early || (await settlesWithin(waited, EXIT_AFTER_OUTPUT_MS));
      const exitCode = await waited;
      const whole = await this.#drained();
      // What follows a log may lose its end.
      if (!whole || !prompt || this.how === 'followed') await this.#readAgain();
      const unsure = this.kept?.unsure ?? [];
      if (unsure.length > 0) return { exitCode, reason: unsureOf(unsure) };
      const { failure } = this.output;
      if (failure !== undefined) {
        return {
          exitCode,
          reason: {
            code: 'worker-error',
            message: `its output could not be kept: ${wordsOf(failure)}`,
          },
        };
      }
      return exitCode === 0 ? { exitCode } : await this.#explain(exitCode);
    } catch (error) {
      const { code, message } = engineFailure(error, 'watch the step');
      this.output.cut();
      await this.output.done;
      // An exit code that an engine tells after it was away proves nothing about the output.
      return { reason: { code, message } };
    }
  }

  /** Waits for the sink; false when the stream broke, or stays silent without an end. */
  async #drained(): Promise<boolean> {
    let seen = -1;
    for (;;) {
      if (await settlesWithin(this.output.done, OUTPUT_AFTER_EXIT_MS)) return this.output.done;
      const { stdout, stderr } = this.output.taken;
      if (stdout + stderr === seen) this.output.cut();
      seen = stdout + stderr;
    }
  }

  /** The engine's log alone decides what the rest is. */
  async #readAgain(): Promise<void> {
    if (this.output.failure !== undefined) return;
    const kept = await keptOutput(this.order.engine, this.container.id, false);
    const frames = (this.kept = new KeptFrames());
    const rest = new StepOutput(kept, this.order.sink, undefined, this.output.taken, frames);
    if (!(await rest.done)) throw new Error('the rest of the output could not be read');
  }

  async #explain(exitCode: number): Promise<StepExit> {
    const tries = exitCode === KILLED && !this.#stopping ? OOM_TRIES : 1;
    for (let left = tries; left > 0; left--) {
      const { State, HostConfig } = await this.container.inspect();
      if (State.OOMKilled) {
        const message = `killed by its memory limit of ${mebibytes(HostConfig.Memory ?? 0)} MiB`;
        return { exitCode, reason: { code: 'out-of-memory', message } };
      }
      if (left > 1) await delay(OOM_WAIT_MS);
    }
    return { exitCode };
  }
}

/** The engine does not tell whether a line that it cut had a newline, and a log is exact or it is none. */
function unsureOf(streams: readonly string[]): NonNullable<StepExit['reason']> {
  const message = `the engine has not kept how the last line of ${streams.join(' and ')} ended`;
  return { code: 'engine-unavailable', message };
}

function brakeOf(container: Docker.Container): Brake {
  return { hold: () => container.pause(), release: () => container.unpause() };
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1024 ** 2);
}

async function settlesWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const cancel = new AbortController();
  const late = delay(ms, false, { signal: cancel.signal }).catch(() => false);
  const settled = work.then(
    () => true,
    () => true,
  );
  const inTime = await Promise.race([settled, late]);
  cancel.abort();
  return inTime;
}

/** Removes a container with its anonymous volumes. */
export function removeContainer(container: Docker.Container): Promise<void> {
  return removeInsisting(() => container.remove({ force: true, v: true }));
}
