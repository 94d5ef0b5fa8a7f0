import { deferred } from '@impgem/kit';
import type Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { OutputSink, RunningStep, StepExit } from '../executor.js';
import { engineFailure, keptOutput, unlessGone, wordsOf } from './engine.js';
import { StepOutput } from './step-output.js';

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

export interface StepOrder {
  engine: Docker;
  options: Docker.ContainerCreateOptions;
  /** Bytes; for the message when it is hit. */
  memory: number;
  sink: OutputSink;
}

/** A step in its container. Made, watched and removed here. */
export class DockerStep implements RunningStep {
  readonly exited: Promise<StepExit>;
  /** Settles when the container and its anonymous volumes are gone, or cannot be removed now. */
  readonly removed: Promise<void>;
  readonly #gaveUp = deferred<StepExit>();
  #stopping: Promise<void> | undefined;
  #hasExited = false;

  /**
   * Creates, attaches, starts, in that order, so that no byte and no exit is missed. Rejects with the engine's
   * error; nothing is left then.
   */
  static async start(order: StepOrder): Promise<DockerStep> {
    const container = await order.engine.createContainer(order.options);
    try {
      const attached = await container.attach({ stream: true, stdout: true, stderr: true });
      const output = new StepOutput(attached as unknown as Readable, order.sink, {
        hold: () => container.pause(),
        release: () => container.unpause(),
      });
      try {
        await container.start();
      } catch (error) {
        output.cut();
        throw error;
      }
      return new DockerStep(container, output, order);
    } catch (error) {
      await removeContainer(container);
      throw error;
    }
  }

  private constructor(
    private readonly container: Docker.Container,
    private readonly output: StepOutput,
    private readonly order: StepOrder,
  ) {
    this.exited = Promise.race([this.#finish(), this.#gaveUp.promise]);
    this.removed = this.exited.then(() => {
      this.#hasExited = true;
      return removeContainer(container);
    });
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
      const waited = this.container.wait({ condition: 'not-running' });
      waited.catch(() => {});
      const early = await Promise.race([
        waited.then(() => false),
        this.output.done.then(() => true),
      ]);
      const prompt = !early || (await settlesWithin(waited, EXIT_AFTER_OUTPUT_MS));
      const { StatusCode: exitCode } = (await waited) as { StatusCode: number };
      const whole = await this.#drained();
      if (!whole || !prompt) await this.#readAgain();
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
    const kept = await keptOutput(this.order.engine, this.container.id);
    const rest = new StepOutput(kept, this.order.sink, undefined, this.output.taken);
    if (!(await rest.done)) throw new Error('the rest of the output could not be read');
  }

  async #explain(exitCode: number): Promise<StepExit> {
    const tries = exitCode === KILLED && !this.#stopping ? OOM_TRIES : 1;
    for (let left = tries; left > 0; left--) {
      const { State } = await this.container.inspect();
      if (State.OOMKilled) {
        const message = `killed by its memory limit of ${mebibytes(this.order.memory)} MiB`;
        return { exitCode, reason: { code: 'out-of-memory', message } };
      }
      if (left > 1) await delay(OOM_WAIT_MS);
    }
    return { exitCode };
  }
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

const REMOVE_TRIES = 5;
const REMOVE_WAIT_MS = 200;

/** Removes a container with its anonymous volumes; what cannot be removed now is left to the sweep. */
export async function removeContainer(container: Docker.Container): Promise<void> {
  for (let left = REMOVE_TRIES; left > 0; left--) {
    try {
      await unlessGone(container.remove({ force: true, v: true }));
      return;
    } catch {
      await delay(REMOVE_WAIT_MS);
    }
  }
}
