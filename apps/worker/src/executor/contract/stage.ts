import { afterAll, afterEach, beforeAll, expect } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { testIdentity } from '@impgem/testkit';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  Executor,
  Identity,
  OutputSink,
  RunningStep,
  StepExit,
  StepSpec,
  Workspace,
} from '../executor.js';

/** The same deeds in the language of one executor's steps. */
export interface Dialect {
  exit(code: number): string;
  /** Writes so many bytes to stdout and exits at once; `bytes` says which. */
  write(count: number): { run: string; bytes: Buffer };
  /** Exactly these bytes, which may hold anything, to stdout. */
  print(bytes: Buffer): string;
  /** `out 1 … out n` to stdout and `err 1 … err n` to stderr, in turns. */
  bothStreams(lines: number): string;
  /** The values of these variables, each ended by a newline. */
  printEnv(names: readonly string[]): string;
  dieBySignal9(): string;
  /** Absent where there is no memory limit. */
  outOfMemory?(): string;
  /** Prints `started` and then waits for long. */
  wait(): string;
  /** The same, but only KILL ends it. */
  waitStubbornly(): string;
  /** Prints `main` and ends, while a child that holds its output would print `late` soon. */
  leaveChild(): string;
  /** Makes a file of the workspace that holds the text and a newline. */
  writeFile(path: string, text: string): string;
  link(path: string, target: string): string;
  cat(path: string): string;
  /** Absent where files have neither: prints the second of modification and, for a link, where it leads. */
  look?(path: string): string;
  /** A step that cannot be started. */
  unstartable(): Partial<StepSpec>;
  /** Absent where steps have no descriptors: what opens, cuts or copies its output by `/dev` and `/proc`, and writes which. */
  reopened?(): { run: string; stdout: string; stderr: string }[];
  /** Absent where nothing outlives the process: prints `before`, waits for the file `go`, goes on with `then`. */
  untilGo?(before: Buffer, then: string): string;
}

export interface Subject {
  name: string;
  /** A new one, not opened; those of one test share what outlives a process. With few slots less is kept warm. */
  create(slots?: number): Executor;
  dialect: Dialect;
  /** Part of every step, e.g. its image. */
  step: Partial<StepSpec>;
  /** More than it waits for the readers of its output, after an exit, before it would drop them; in milliseconds. */
  readersWaitMs: number;
  /** What is there of this identity, outside the process; one line an object. */
  remains(identity: Identity): Promise<string[]>;
}

/** What a step did, as the sink saw it. */
export interface Played {
  exit: StepExit;
  stdout: Buffer;
  stderr: Buffer;
  system: string;
}

/** Collects output and lets a test wait for some of it. */
export class Audience {
  readonly #chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[], system: [] as Buffer[] };
  readonly #waits: { text: string; seen: () => void }[] = [];
  calls = 0;

  readonly sink: OutputSink = (stream, bytes) => {
    this.calls++;
    // A copy: what is passed on need not stay as it is.
    this.#chunks[stream].push(Buffer.from(bytes));
    for (const { text, seen } of this.#waits) if (this.stdout.includes(text)) seen();
  };

  get stdout(): Buffer {
    return Buffer.concat(this.#chunks.stdout);
  }
  get stderr(): Buffer {
    return Buffer.concat(this.#chunks.stderr);
  }
  get system(): string {
    return Buffer.concat(this.#chunks.system).toString();
  }

  async sees(text: string): Promise<void> {
    const seen = deferred();
    this.#waits.push({ text, seen: seen.resolve });
    if (!this.stdout.includes(text)) await seen.promise;
  }
}

/** Looks again until it is so; rejects with what was waited for. */
export async function until(
  what: string,
  isSo: () => Promise<boolean> | boolean,
  withinMs = 30_000,
): Promise<void> {
  for (const end = Date.now() + withinMs; !(await isSo()); await delay(20))
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
}

/** An opened executor for a test file, and what tests do with it. */
export class Stage {
  readonly identity: Identity = testIdentity();
  readonly #workspaces: Workspace[] = [];
  #executor: Executor | undefined;
  #build = 0;

  constructor(readonly subject: Subject) {}

  get executor(): Executor {
    if (!this.#executor) throw new Error('the stage is not set');
    return this.#executor;
  }

  /** Hooks into the test file: opens before, disposes after each test, and at the end nothing may remain. */
  install(): void {
    beforeAll(async () => {
      this.#executor = this.subject.create();
      await this.#executor.open(this.identity);
    });
    afterEach(async () => {
      await Promise.all(this.#workspaces.splice(0).map((workspace) => workspace.dispose()));
    });
    afterAll(async () => {
      await this.#executor?.close();
      expect(await this.subject.remains(this.identity)).toEqual([]);
    });
  }

  async workspace(executor: Executor = this.executor): Promise<Workspace> {
    const build = ++this.#build;
    const workspace = await executor.createWorkspace({ build, epoch: 1 }, build);
    this.#workspaces.push(workspace);
    return workspace;
  }

  spec(run: string, more: Partial<StepSpec> = {}): StepSpec {
    return { index: 0, name: 'step', env: {}, ...this.subject.step, ...more, run };
  }

  start(
    workspace: Workspace,
    spec: StepSpec,
    sink: OutputSink,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<RunningStep> {
    return this.executor.start(workspace, spec, { sink, signal, launching: async () => {} });
  }

  /** Plays one step to its end, in a workspace of its own unless one is given. */
  async play(run: string, more: Partial<StepSpec> = {}, workspace?: Workspace): Promise<Played> {
    const audience = new Audience();
    const where = workspace ?? (await this.workspace());
    const step = await this.start(where, this.spec(run, more), audience.sink);
    const exit = await step.exited;
    step.discard();
    const { stdout, stderr, system } = audience;
    return { exit, stdout, stderr, system };
  }
}
