import { access } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { OutputSink, RunningStep, StepExit, StepSpec } from '../executor.js';
import type { MemoryWorkspace } from './memory-workspace.js';
import type { Act } from './play.js';

const CHUNK = 64 * 1024;
const PATTERN = Uint8Array.from({ length: CHUNK + 256 }, (_, index) => index % 256);
const TERMINATED = 143;
const KILLED = 137;

/** A play while it is performed. */
export class Performance implements RunningStep {
  readonly exited: Promise<StepExit>;
  readonly #stopped = new AbortController();
  readonly #children = new Set<NodeJS.Timeout>();
  #ignoresTerm = false;
  #grace: NodeJS.Timeout | undefined;

  constructor(
    private readonly play: readonly Act[],
    private readonly workspace: MemoryWorkspace,
    private readonly step: StepSpec,
    private readonly sink: OutputSink,
  ) {
    this.exited = this.#perform();
  }

  async stop(graceMs: number): Promise<void> {
    if (!this.#ignoresTerm) this.#stopped.abort(TERMINATED);
    else this.#grace ??= setTimeout(() => this.#stopped.abort(KILLED), graceMs);
    await this.exited;
  }

  /** Nothing of it is outside this process. */
  discard(): void {}

  async #perform(): Promise<StepExit> {
    try {
      for (const act of this.play) {
        this.#stopped.signal.throwIfAborted();
        const exit = await this.#act(act);
        if (exit) return exit;
      }
      return { exitCode: 0 };
    } catch (cause) {
      const { aborted, reason } = this.#stopped.signal;
      if (aborted) return { exitCode: reason as number };
      return { reason: { code: 'worker-error', message: String(cause) } };
    } finally {
      // As in a container: when the main process ends, so do its children.
      for (const child of this.#children) clearTimeout(child);
      clearTimeout(this.#grace);
    }
  }

  async #act(act: Act): Promise<StepExit | undefined> {
    switch (act.do) {
      case 'print':
        await this.#print(act.stream, act.bytes);
        return undefined;
      case 'bytes':
        await this.#bytes(act.stream, act.count);
        return undefined;
      case 'lines':
        await this.#lines(act);
        return undefined;
      case 'sleep':
        await this.#sleep(act.ms);
        return undefined;
      case 'wait-file':
        while (!(await exists(act.path))) await this.#sleep(5);
        return undefined;
      case 'ignore-term':
        this.#ignoresTerm = true;
        return undefined;
      case 'orphan':
        this.#children.add(setTimeout(() => void this.sink('stdout', act.bytes), act.ms));
        return undefined;
      case 'env':
        await this.#print('stdout', Buffer.from(`${this.step.env[act.name] ?? ''}\n`));
        return undefined;
      case 'write':
        this.workspace.write(act.path, act.bytes);
        return undefined;
      case 'link':
        this.workspace.link(act.path, act.target);
        return undefined;
      case 'cat':
        return this.#cat(act.path);
      case 'exit':
        return { exitCode: act.code };
      case 'die':
      case 'fail-start':
        return { reason: { code: act.code, message: act.message } };
    }
  }

  async #sleep(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopped.signal });
  }

  async #print(stream: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    await this.sink(this.step.merged ? 'stdout' : stream, bytes);
    this.#stopped.signal.throwIfAborted();
  }

  async #bytes(stream: 'stdout' | 'stderr', count: number): Promise<void> {
    for (let at = 0; at < count; at += CHUNK) {
      await this.#print(stream, PATTERN.slice(0, Math.min(CHUNK, count - at)));
    }
  }

  async #lines(act: Extract<Act, { do: 'lines' }>): Promise<void> {
    for (let line = 1; line <= act.count; line++) {
      await this.#print(act.stream, Buffer.from(`line ${line}\n`));
      if (act.everyMs > 0) await this.#sleep(act.everyMs);
    }
  }

  async #cat(path: string): Promise<StepExit | undefined> {
    try {
      for await (const chunk of await this.workspace.read(path)) {
        await this.#print('stdout', chunk as Buffer);
      }
      return undefined;
    } catch (cause) {
      this.#stopped.signal.throwIfAborted();
      await this.#print('stderr', Buffer.from(`cat: ${(cause as Error).message}\n`));
      return { exitCode: 1 };
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
