import { FarmError, invariant } from '@impgem/kit';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfCancelled, unlessCancelled } from '../cancelled.js';
import type {
  Attempt,
  Executor,
  Identity,
  OutputSink,
  RunningStep,
  StartOrder,
  StepSpec,
  Swept,
  Workspace,
  WorkspaceUse,
} from '../executor.js';
import { shellText } from '../shell-text.js';
import { noFolder } from '../workdir.js';
import { HostStep } from './host-step.js';
import { HostWorkspace } from './host-workspace.js';
import { LauncherClient } from './launcher-client.js';
import { removeTree } from './remove-tree.js';
import { killStrays, MARKER } from './strays.js';

/** All that a step finds in its environment beside what it is given. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What the names of a step's files begin with. */
const filesOf = ({ folder }: HostWorkspace, id: string): string => join(folder, id);

/** How long a measurement may take, in milliseconds; what takes longer counts as `UNKNOWN` bytes. */
const MEASURE_MS = 20_000;
const UNKNOWN = 64 * 1024 * 1024;

/** By the program for it, which passes over what it cannot read, and does not hold up the worker. */
function bytesOf(folder: string): Promise<number> {
  return new Promise((resolve) => {
    execFile('du', ['-sxk', folder], { timeout: MEASURE_MS, env: { PATH } }, (_, out) => {
      const kibibytes = Number.parseInt(out, 10);
      resolve(Number.isNaN(kibibytes) ? UNKNOWN : kibibytes * 1024);
    });
  });
}

/**
 * Runs steps as processes of this machine, as the worker's user: no isolation, so only where the worker's own
 * config asks for it. No memory limit either; `out-of-memory` is never told here, since a death by signal 9
 * does not say who sent it.
 *
 * Folders are made and small files removed by calls that wait: the kernel does each in its memory within microseconds,
 * and a turn through the thread pool costs ten times that.
 *
 * A step's id is `<identity>-<build>-<epoch>-<random>`: folder name, marker in the environment, and what a
 * sweep goes by.
 */
export class HostExecutor implements Executor {
  readonly name = 'host';
  readonly #launcher = new LauncherClient();
  readonly #workspaces = new Set<HostWorkspace>();
  /** What the ids of attempts begin with that have a workspace, or are about to. */
  readonly #live = new Set<string>();
  /** Folders that a sweep found and could not remove whole. */
  readonly #stuck = new Set<string>();
  #whose: string | undefined;
  #root: string;

  /** `root` is absolute: the folder that workspaces are made in. */
  constructor(root: string) {
    this.#root = root;
  }

  async open({ farm, worker }: Identity): Promise<void> {
    this.#whose = createHash('sha256').update(`${farm}/${worker}`).digest('hex').slice(0, 12);
    try {
      await mkdir(this.#root, { recursive: true, mode: 0o700 });
      this.#root = await realpath(this.#root);
    } catch (cause) {
      const message = `the folder ${this.#root} for workspaces cannot be used: ${String(cause)}`;
      throw new FarmError('workspace-error', message, {}, { cause });
    }
    this.#launcher.open(this.#root);
  }

  async createWorkspace(attempt: Attempt, slot: number): Promise<Workspace> {
    this.#checkSlot(slot);
    const workspace = this.#workspace(attempt, slot, join(this.#root, this.#idOf(attempt)), false);
    await this.#make(workspace);
    return workspace;
  }

  async reopenWorkspace(attempt: Attempt, slot: number): Promise<Workspace | undefined> {
    this.#checkSlot(slot);
    const prefix = this.#prefixOf(attempt);
    const name = (await readdir(this.#root)).find((one) => one.startsWith(prefix));
    if (name === undefined) return undefined;
    const workspace = this.#workspace(attempt, slot, join(this.#root, name), true);
    await this.#make(workspace);
    return workspace;
  }

  async start(workspace: Workspace, step: StepSpec, order: StartOrder): Promise<RunningStep> {
    invariant(workspace instanceof HostWorkspace, 'a workspace of another executor');
    const { sink, signal, launching } = order;
    throwIfCancelled(signal);
    const id = this.#idOf(workspace.attempt);
    const cwd = this.#workdir(workspace, step.workdir);
    const running = await HostStep.start({
      launcher: this.#launcher,
      launching,
      id,
      run: shellText(step),
      cwd,
      env: { PATH, HOME: join(workspace.folder, 'home'), ...step.env, [MARKER]: id },
      files: filesOf(workspace, id),
      sink,
    });
    workspace.add(running);
    return unlessCancelled(running, workspace, signal);
  }

  async attach(
    workspace: Workspace,
    _step: StepSpec,
    ref: string,
    sink: OutputSink,
  ): Promise<RunningStep | undefined> {
    invariant(workspace instanceof HostWorkspace, 'a workspace of another executor');
    const running = await HostStep.attach({ id: ref, files: filesOf(workspace, ref), sink });
    if (running) workspace.add(running);
    return running;
  }

  async sweep(keep: readonly Attempt[]): Promise<Swept> {
    const whose = this.#mine();
    const kept = new Set(keep.map((attempt) => this.#prefixOf(attempt)));
    // Asked after it was seen: whose workspace was made before is known by then.
    const left = (id: string): boolean => {
      const prefix = id.slice(0, id.lastIndexOf('-') + 1);
      return id.startsWith(`${whose}-`) && !kept.has(prefix) && !this.#live.has(prefix);
    };
    const processes = await killStrays(left);
    const folders = (await readdir(this.#root)).filter(left);
    const found = processes + folders.filter((folder) => !this.#stuck.has(folder)).length;
    const stuck: string[] = [];
    for (const folder of folders) {
      const path = join(this.#root, folder);
      const rest = await removeTree(path);
      if (!rest) {
        this.#stuck.delete(folder);
        continue;
      }
      this.#stuck.add(folder);
      stuck.push(`${path}: ${rest.count} entries cannot be removed; the first: ${rest.why}`);
    }
    return { found, stuck };
  }

  async workspacesAt(): Promise<string> {
    return this.#root;
  }

  async usage(): Promise<WorkspaceUse[]> {
    const all = [...this.#workspaces].filter(({ disposed }) => !disposed);
    return Promise.all(
      all.map(async ({ attempt, folder }) => ({ attempt, bytes: await bytesOf(folder) })),
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workspaces].map((workspace) => workspace.dispose()));
    await this.#launcher.close();
  }

  async leave(): Promise<void> {
    for (const workspace of this.#workspaces) workspace.letGo();
    this.#launcher.leave();
  }

  #checkSlot(slot: number): void {
    for (const other of this.#workspaces)
      invariant(other.disposed || other.slot !== slot, `slot ${slot} already has a workspace`);
  }

  #workspace(attempt: Attempt, slot: number, folder: string, inherited: boolean): HostWorkspace {
    const prefix = this.#prefixOf(attempt);
    this.#live.add(prefix);
    const gone = (workspace: HostWorkspace): void => {
      this.#workspaces.delete(workspace);
      this.#live.delete(prefix);
    };
    return new HostWorkspace(attempt, slot, folder, prefix, gone, inherited);
  }

  async #make(workspace: HostWorkspace): Promise<void> {
    const { folder, work } = workspace;
    try {
      mkdirSync(work, { recursive: true, mode: 0o700 });
      mkdirSync(join(folder, 'home'), { recursive: true, mode: 0o700 });
    } catch (cause) {
      await removeTree(folder);
      this.#live.delete(this.#prefixOf(workspace.attempt));
      throw new FarmError('workspace-error', `no workspace: ${String(cause)}`, {}, { cause });
    }
    this.#workspaces.add(workspace);
  }

  /** Made when it is not there, as the engine does for a container. */
  #workdir(workspace: HostWorkspace, workdir = '.'): string {
    const path = join(workspace.work, workdir);
    if (path !== workspace.work && !path.startsWith(`${workspace.work}/`)) {
      const message = `the workdir ${JSON.stringify(workdir)} leaves the workspace`;
      throw new FarmError('workspace-error', message);
    }
    try {
      mkdirSync(path, { recursive: true });
      return path;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EEXIST' || code === 'ENOTDIR') throw noFolder(workdir);
      throw new FarmError('workspace-error', `the workdir: ${String(cause)}`, {}, { cause });
    }
  }

  #prefixOf({ build, epoch }: Attempt): string {
    return `${this.#mine()}-${build}-${epoch}-`;
  }

  #idOf(attempt: Attempt): string {
    return this.#prefixOf(attempt) + randomBytes(6).toString('hex');
  }

  #mine(): string {
    invariant(this.#whose, 'the executor was not opened');
    return this.#whose;
  }
}
