import type { ExecutorName, Reason } from '@impgem/protocol';
import type { Readable } from 'node:stream';

/** Whose objects these are; labels everything that an executor makes outside its process. */
export interface Identity {
  farm: string;
  worker: string;
}

/** One attempt of a build. */
export interface Attempt {
  build: number;
  epoch: number;
}

export type OutputStream = 'system' | 'stdout' | 'stderr';

/**
 * Takes a step's output, in order. The executor awaits each call before it reads on, so a slow taker slows the
 * step and memory stays flat.
 */
export type OutputSink = (stream: OutputStream, bytes: Uint8Array) => Promise<void> | void;

/** What runs: rendered, checked, with every limit explicit. */
export interface StepSpec {
  /** Index of the step in its build. */
  index: number;
  name: string;
  /** Shell text for `sh -e -c`. */
  run: string;
  /** Needed by `docker`, ignored by `host`. */
  image?: string;
  env: Record<string, string>;
  /** Relative to the workspace. */
  workdir?: string;
  /** stderr is written where stdout is: one stream, `stdout`, in the order in which the step wrote. */
  merged?: boolean;
}

/** How a step ended. `exitCode` is absent when it never ran to an exit of its own. */
export interface StepExit {
  exitCode?: number;
  /** Set when the exit code alone does not say why: out of memory (from the engine's state), killed, engine gone. */
  reason?: Reason;
}

/** A step under way. */
export interface RunningStep {
  /** True when it had ended, of itself, before it was taken up. */
  readonly wasOver?: boolean;
  /**
   * Settles after the step has ended **and** its output has been read to the end and taken by the sink, in
   * that order; never rejects. What went wrong is in `reason`.
   */
  readonly exited: Promise<StepExit>;
  /** TERM to the whole step, after `graceMs` KILL; idempotent, returns when `exited` has settled. */
  stop(graceMs: number): Promise<void>;
  /**
   * Removes what is there of it outside the process. For when its end is written down: until then a later
   * process must find it, or could not tell that it ever ran. Disposing of the workspace does it too.
   */
  discard(): void;
}

/** What `start` needs beside the workspace and the step. */
export interface StartOrder {
  sink: OutputSink;
  signal: AbortSignal;
  /**
   * Called before the step can run, with what `attach` will need to find it again; it runs only after the
   * promise has settled. May be called again, when a first try could not be started.
   */
  launching: (ref: string) => Promise<void>;
}

export interface WorkspaceFile {
  /** Relative to the workspace, with `/`. */
  path: string;
  type: 'file' | 'directory' | 'link' | 'other';
  /** Bytes. */
  size: number;
  /** Permission bits. */
  mode: number;
  /** Nobody here may read it. Of a directory: what is below it is not told. */
  unreadable?: boolean;
}

/** What reading one of many files came to: its bytes, as many as it was listed with, or why there are none. */
export type ReadFile = { file: WorkspaceFile } & ({ bytes: Buffer } | { error: unknown });

/** A symbolic link in a workspace. */
export interface Link {
  path: string;
  target: string;
  mtime: Date;
}

/** Where the steps of one attempt work; shared by them, gone afterwards. */
export interface Workspace {
  readonly attempt: Attempt;
  /**
   * Unpacks a tar stream into the workspace; the steps' user owns what it brings, and it keeps its seconds of
   * modification. `outward` are links that lead out of the workspace, which not every engine takes from a tar; it is
   * looked at once the tar has been read.
   */
  unpack(tar: Readable, outward?: readonly Link[]): Promise<void>;
  /**
   * What is there, links not followed, sockets passed over. Names are hostile: any byte but NUL and `/`. Whatever cannot
   * be read is told as that and ends nothing.
   */
  files(): AsyncIterable<WorkspaceFile>;
  /** The bytes of a regular file that lies in the workspace; rejects for links and for anything outside. */
  read(path: string): Promise<Readable>;
  /** The same for many small ones, as listed, each once and in any order. */
  readMany(files: readonly WorkspaceFile[]): AsyncIterable<ReadFile>;
  /** Removes the workspace and everything made for the attempt; idempotent. */
  dispose(): Promise<void>;
}

/** What a sweep found. */
export interface Swept {
  /** Objects that were left behind and that no sweep of this process had found before. */
  found: number;
  /** What could not be removed, and why: a sentence each, at every sweep. */
  stuck: string[];
}

/** What the workspace of an attempt takes on the disk. */
export interface WorkspaceUse {
  attempt: Attempt;
  bytes: number;
}

/** What an executor keeps on a disk, and can fetch again. */
export interface Storage {
  /** The folder that lies on that disk; absent where this machine cannot see it. */
  root(): Promise<string | undefined>;
  /** Removes what the farm fetched and nobody uses, the longest unused first, until there is enough room; answers the names. */
  evict(enough: () => Promise<boolean>): Promise<string[]>;
}

/**
 * Runs steps. Implementations: `docker` (containers), `host` (processes, only when the worker's own config
 * allows it) and `scripted` (a play written in the step's text, for tests). `contract.ts` is the suite that all
 * of them run whole.
 *
 * The contract:
 * 1. Output before exit: `exited` settles after the last byte was taken by the sink. Bytes are passed on as
 *    they are: invalid UTF-8, NUL, lines without end.
 * 2. Order within a stream is exact; between streams it is that of arrival.
 * 3. `stop` ends a step in every phase: before it started, while it runs, while its output drains. It reaches
 *    the children of the step too. After `exited` it does nothing.
 * 4. A step that cannot be started ends `start` with a `FarmError` whose code is one of `REASONS`, and leaves
 *    nothing behind. `start` may be aborted by its signal, with the same promise.
 * 5. Everything made outside the process carries the identity and the attempt, and is removed by `dispose`, or,
 *    if this process dies, by `sweep` of a later one of the same identity. A neighbour's objects are never touched.
 * 6. The environment may be 1 MB; no value is ever part of a command line.
 * 7. Being killed by a memory limit is told from the engine's state, as `out-of-memory`, never from exit 137.
 * 8. Steps and workspaces outlive the process that made them, however it ends, and its successor takes them up:
 *    `reopenWorkspace` finds the workspace, `attach` the step, whose whole output, from the first byte of each
 *    stream, then goes to the sink. A step that was `launching` is never run twice: where nothing proves that it
 *    did not run, `attach` rejects. What cannot outlive its process (`scripted`: plays and memory) is not found
 *    again: `reopenWorkspace` gives undefined, always.
 */
export interface Executor {
  readonly name: ExecutorName;
  /** What it keeps on a disk besides the worker's data folder. */
  readonly storage?: Storage;
  /** Checks that steps can run here; a `FarmError` says what is missing and how to mend it. */
  open(identity: Identity): Promise<void>;
  /** A fresh, empty workspace on a slot (0 … slots − 1); no two live workspaces share a slot. */
  createWorkspace(attempt: Attempt, slot: number): Promise<Workspace>;
  /** Starts a step. What the farm has to say about it (a pull's progress) goes to the sink as `system`. */
  start(workspace: Workspace, step: StepSpec, order: StartOrder): Promise<RunningStep>;
  /**
   * The workspace that an earlier process of this identity made for the attempt and did not dispose of, with what
   * its steps wrote; undefined when there is none.
   */
  reopenWorkspace(attempt: Attempt, slot: number): Promise<Workspace | undefined>;
  /**
   * Takes up a step that an earlier process launched, running or ended, by what `launching` was told. Undefined
   * when it is certain that it never ran and never will; rejects when that, or what it wrote, cannot be known.
   */
  attach(
    workspace: Workspace,
    step: StepSpec,
    ref: string,
    sink: OutputSink,
  ): Promise<RunningStep | undefined>;
  /** Removes what earlier processes of this identity left behind, except of these attempts. */
  sweep(keep: readonly Attempt[]): Promise<Swept>;
  /**
   * What live workspaces, and what their steps write beside them, take on the disk. Costs a walk through their files: for
   * need only. Absent where nothing is on a disk.
   */
  usage?(): Promise<WorkspaceUse[]>;
  /** The folder below which workspaces lie; undefined where this machine cannot see it. */
  workspacesAt?(): Promise<string | undefined>;
  /**
   * What steps reach on the machine that runs them and should not: `address:port` each. Settles when that was tried, in
   * the network of a step; absent where steps have no network of their own.
   */
  exposed?(): Promise<string[]>;
  /** Releases what the executor keeps warm; nothing of this identity remains but images. */
  close(): Promise<void>;
  /** Lets go of everything that a later process can take up: steps run on, and nothing holds them back. */
  leave(): Promise<void>;
}
