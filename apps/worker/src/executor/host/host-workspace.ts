import { FarmError, quotedPath } from '@impgem/kit';
import { constants, createWriteStream } from 'node:fs';
import {
  chmod,
  lstat,
  lutimes,
  mkdir,
  open,
  opendir,
  readlink,
  rmdir,
  symlink,
  utimes,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import type { Attempt, Link, ReadFile, Workspace, WorkspaceFile } from '../executor.js';
import { readOneByOne } from '../read-many.js';
import type { HostStep } from './host-step.js';
import { removeTree } from './remove-tree.js';
import { killStrays } from './strays.js';
import type { Since } from './strays.js';

/** A folder of the worker's disk; `work` in it is what steps see, beside it are their `home` and their files. */
export class HostWorkspace implements Workspace {
  readonly work: string;
  readonly #steps = new Set<HostStep>();
  #first: Since | undefined;
  #disposed: Promise<void> | undefined;

  constructor(
    readonly attempt: Attempt,
    readonly slot: number,
    /** Absolute. */
    readonly folder: string,
    /** What the markers of its steps begin with. */
    private readonly marker: string,
    private readonly onDispose: (workspace: HostWorkspace) => void,
    /** An earlier process made it: its steps may have left children long ago. */
    inherited = false,
  ) {
    this.work = join(folder, 'work');
    if (inherited) this.#first = { pid: 0, at: 0 };
  }

  /** What frozen steps there are go on, and are not frozen again. */
  letGo(): void {
    for (const step of this.#steps) step.letGo();
  }

  get disposed(): boolean {
    return this.#disposed !== undefined;
  }

  add(step: HostStep): void {
    this.#first ??= { pid: step.pid, at: Date.now() };
    this.#steps.add(step);
    // Whoever runs the step is told how it failed.
    const removed = (): void => void this.#steps.delete(step);
    step.removed.then(removed, removed);
  }

  /**
   * Links are made last: no entry can be written through one. Hard links and devices are left out, and a path
   * that leaves the workspace ends it all.
   */
  async unpack(source: Readable, outward: readonly Link[] = []): Promise<void> {
    const extract = tar.extract();
    const reading = pipeline(source, extract as unknown as NodeJS.WritableStream);
    reading.catch(() => {});
    const links: Link[] = [];
    for await (const entry of extract) {
      const { name, type, mode, linkname, mtime } = entry.header;
      const path = this.#below(name);
      if (type === 'directory') {
        await mkdir(path, { recursive: true });
        await chmod(path, mode % 0o1000);
      } else if (type === 'file') {
        await mkdir(dirname(path), { recursive: true });
        await pipeline(
          entry as unknown as Readable,
          createWriteStream(path, { mode: mode % 0o1000 }),
        );
        await utimes(path, mtime, mtime);
      } else if (type === 'symlink') {
        links.push({ path, target: linkname, mtime });
      }
      entry.resume();
    }
    await reading;
    for (const link of outward) links.push({ ...link, path: this.#below(link.path) });
    for (const { path, target, mtime } of links) {
      await mkdir(dirname(path), { recursive: true });
      await symlink(target, path);
      await lutimes(path, mtime, mtime);
    }
  }

  async *files(): AsyncIterable<WorkspaceFile> {
    const folders = [{ path: '', mode: 0 }];
    for (let next = folders.pop(); next; next = folders.pop()) {
      const { path: below, mode } = next;
      const dir = await opendir(join(this.work, below)).catch(failureOf);
      const unreadable = 'code' in dir;
      // Gone meanwhile, or another kind of thing by now.
      if (unreadable && (dir.code === 'ENOENT' || dir.code === 'ENOTDIR')) continue;
      if (unreadable && below === '')
        throw new FarmError('artifact-refused', `the workspace cannot be read (${dir.code})`);
      if (below !== '')
        yield { path: below, type: 'directory', size: 0, mode, ...(unreadable ? UNREADABLE : {}) };
      if (unreadable) continue;
      for await (const { name } of dir) {
        const path = below === '' ? name : `${below}/${name}`;
        const file = await this.#look(path);
        if (file?.type === 'directory') folders.push(file);
        else if (file) yield file;
      }
    }
  }

  /** Undefined for what is gone, and for sockets, which an engine does not tell of either. */
  async #look(path: string): Promise<WorkspaceFile | undefined> {
    const stats = await lstat(join(this.work, path)).catch(failureOf);
    if ('code' in stats) {
      // A name that is no UTF-8 cannot be asked for.
      if (stats.code === 'ENOENT' && !path.includes('\uFFFD')) return undefined;
      return {
        path,
        type: 'other',
        size: 0,
        mode: 0,
        ...(stats.code === 'ENOENT' ? {} : UNREADABLE),
      };
    }
    if (stats.isSocket()) return undefined;
    const type = stats.isFile()
      ? 'file'
      : stats.isDirectory()
        ? 'directory'
        : stats.isSymbolicLink()
          ? 'link'
          : 'other';
    return { path, type, size: stats.size, mode: stats.mode % 0o10000 };
  }

  /** Opened first and looked at then, so that a link set in between changes nothing. */
  async read(path: string): Promise<Readable> {
    const full = this.#below(path);
    const flags = [constants.O_RDONLY, constants.O_NOFOLLOW, constants.O_NONBLOCK];
    const file = await open(
      full,
      flags.reduce((all, flag) => all + flag),
    ).catch((cause: NodeJS.ErrnoException) => {
      const isDenied = cause.code === 'EACCES' || cause.code === 'EPERM';
      const why = isDenied ? 'the worker may not read it' : 'is no regular file, or not there';
      throw refused(path, why, cause);
    });
    const real = await readlink(`/proc/self/fd/${file.fd}`).catch(() => '');
    if (real === full && (await file.stat()).isFile()) return file.createReadStream();
    await file.close();
    throw refused(path, 'is no regular file, or lies behind a link');
  }

  readMany(files: readonly WorkspaceFile[]): AsyncIterable<ReadFile> {
    return readOneByOne(files, (path) => this.read(path));
  }

  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    const steps = [...this.#steps];
    await Promise.all(steps.map((step) => step.stop(0)));
    for (const step of steps) step.discard();
    await Promise.all(steps.map((step) => step.removed));
    if (this.#first) {
      await killStrays((marker) => marker.startsWith(this.marker), this.#first).catch(() => 0);
    }
    await this.#remove();
    this.onDispose(this);
  }

  /**
   * Most builds of one step leave nothing: then a few calls do, and not a walk through all of it. What cannot be removed
   * is the sweep's, which says so.
   */
  async #remove(): Promise<void> {
    const { folder, work } = this;
    try {
      await Promise.all([work, join(folder, 'home')].map((path) => rmdir(path)));
      await rmdir(folder);
    } catch {
      await removeTree(folder);
    }
  }

  #below(path: string): string {
    const parts = path
      .replace(/\/+$/, '')
      .split('/')
      .filter((part) => part !== '.');
    if (path.includes('\0') || parts.some((part) => part === '' || part === '..')) {
      throw refused(path, 'is no path below the workspace');
    }
    return join(this.work, ...parts);
  }
}

const UNREADABLE = { unreadable: true };

const failureOf = (error: NodeJS.ErrnoException): { code: string } => ({
  code: error.code ?? 'unknown',
});

function refused(path: string, why: string, cause?: unknown): FarmError {
  return new FarmError('artifact-refused', `${quotedPath(path)}: ${why}`, {}, { cause });
}
