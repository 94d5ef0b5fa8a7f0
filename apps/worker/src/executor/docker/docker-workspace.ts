import { FarmError, quotedPath } from '@impgem/kit';
import type Docker from 'dockerode';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path/posix';
import { PassThrough } from 'node:stream';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import type { Attempt, Identity, Link, ReadFile, Workspace, WorkspaceFile } from '../executor.js';
import { bytesOf, readOneByOne } from '../read-many.js';
import { archivePlan, weigh } from './archive-plan.js';
import type { DockerStep } from './docker-step.js';
import { removeContainer } from './docker-step.js';
import { engineFailure, removeInsisting, statusOf } from './engine.js';
import type { Holder } from './holders.js';
import { labelsOf, nameOf } from './labels.js';
import { sweepAttempt } from './sweep.js';
import { listByArchive, listByHelper } from './list-files.js';

/** Where every step finds the workspace. */
export const MOUNT = '/workspace';

/** Bits of the mode that the engine tells, in Go's numbering. */
const GO_DIRECTORY = 2 ** 31;
const GO_KINDS = 0x0f28_0000;

export interface WorkspaceOrder {
  engine: Docker;
  identity: Identity;
  image: string;
  attempt: Attempt;
  slot: number;
  volume: string;
  /** Absent when steps get no network. */
  holder: Holder | undefined;
  /** The run of the engine that it belongs to. */
  run: string;
  /** Another process worked for this attempt before, and its last requests may still take effect. */
  inherited: boolean;
  onDispose: (workspace: DockerWorkspace) => void;
}

/**
 * A volume, and one container that is created with it and never started: the engine's archive calls work on
 * that one, so nothing of the farm runs where the steps have been, and the worker may sit anywhere.
 */
export class DockerWorkspace implements Workspace {
  readonly attempt: Attempt;
  readonly slot: number;
  readonly volume: string;
  readonly run: string;
  holder: Holder | undefined;
  readonly #steps = new Set<DockerStep>();
  #running = 0;
  /** The engine locks a container while it reads from it, so reads at the same time need one each. */
  readonly #archives: Promise<Docker.Container>[] = [];
  readonly #idle: Docker.Container[] = [];
  readonly #reading = new Set<Readable>();
  /** Bytes below each folder in an archive, as of the last listing. */
  readonly #weights = new Map<string, number>();
  #disposed: Promise<void> | undefined;

  constructor(private readonly order: WorkspaceOrder) {
    this.attempt = order.attempt;
    this.slot = order.slot;
    this.volume = order.volume;
    this.run = order.run;
    this.holder = order.holder;
  }

  get disposed(): boolean {
    return this.#disposed !== undefined;
  }

  get busy(): boolean {
    return this.#running > 0;
  }

  /** What frozen steps there are go on, and are not frozen again. */
  async letGo(): Promise<void> {
    await Promise.all([...this.#steps].map((step) => step.letGo()));
  }

  /** Steps are waited for, and their containers' removal, before the volume goes. */
  add(step: DockerStep): void {
    this.#steps.add(step);
    this.#running++;
    // Whoever runs the step is told how it failed.
    const ended = (): void => void this.#running--;
    step.exited.then(ended, ended);
    const removed = (): void => void this.#steps.delete(step);
    step.removed.then(removed, removed);
  }

  /** The tar's owners are kept: a checkout says root, which is the user of the steps. */
  async unpack(source: Readable, outward: readonly Link[] = []): Promise<void> {
    const container = await this.#archive().catch((error: unknown) => {
      source.destroy();
      throw engineFailure(error, 'unpack into the workspace');
    });
    // A source may be destroyed at any time, with or without an error; either must end the request.
    const body = new PassThrough();
    const broken = new AbortController();
    let cause: unknown;
    const fed = pipeline(source, body).catch((error: unknown) => {
      cause = error;
      broken.abort();
    });
    try {
      await container.putArchive(body, { path: MOUNT, abortSignal: broken.signal });
      await fed;
      // Below the folder it unpacks in, the engine refuses such links; seen from the root they lead nowhere else.
      if (outward.length > 0) await container.putArchive(linksAsTar(outward), { path: '/' });
      this.#idle.push(container);
    } catch (error) {
      const sourceBroke = broken.signal.aborted;
      body.destroy();
      await fed;
      if (!sourceBroke) throw engineFailure(error, 'unpack into the workspace');
      throw new FarmError('workspace-error', 'the archive to unpack broke off', {}, { cause });
    }
  }

  /**
   * Small workspaces (most) are listed from the engine's archive: no container is started. That call reads all
   * content, so beyond a budget a helper takes over, which costs a start but then grows with the number of
   * files only.
   */
  async *files(): AsyncIterable<WorkspaceFile> {
    this.#weights.clear();
    try {
      const container = await this.#archive();
      const small = await listByArchive(container, MOUNT);
      this.#idle.push(container);
      for await (const file of small ?? listByHelper(this.order, MOUNT)) {
        weigh(this.#weights, file);
        yield file;
      }
    } catch (error) {
      throw engineFailure(error, 'list the workspace');
    }
  }

  async read(path: string): Promise<Readable> {
    const parts = path.split('/');
    if (parts.some((part) => part === '' || part === '.' || part === '..') || path.includes('\0')) {
      throw refused(path, 'is no path below the workspace');
    }
    try {
      const container = await this.#archive();
      try {
        await checkKinds(container, path, parts);
        return await this.#stream(container, path);
      } catch (error) {
        this.#idle.push(container);
        throw error;
      }
    } catch (error) {
      throw engineFailure(error, 'read from the workspace');
    }
  }

  /** Folders that hold little else are read whole, in one call; what does not come that way is asked for by itself. */
  async *readMany(files: readonly WorkspaceFile[]): AsyncIterable<ReadFile> {
    const { folders, single } = await archivePlan(files, this.#weights);
    const left = new Map(files.map((file) => [file.path, file]));
    for (const file of single) left.delete(file.path);
    for (const folder of folders) yield* this.#readFolder(folder, left);
    // A second name of a file comes without its content.
    yield* readOneByOne([...single, ...left.values()], (path) => this.read(path));
  }

  /** Takes what comes out of `left`. */
  async *#readFolder(folder: string, left: Map<string, WorkspaceFile>): AsyncGenerator<ReadFile> {
    let container: Docker.Container | undefined;
    let source: Readable | undefined;
    try {
      container = await this.#archive();
      await checkFolder(container, folder);
      source = (await container.getArchive({ path: join(MOUNT, folder) })) as Readable;
      this.#reading.add(source);
      const extract = tar.extract();
      pipeline(source, extract as unknown as NodeJS.WritableStream).catch((error: unknown) =>
        extract.destroy(error as Error),
      );
      for await (const entry of extract) {
        const { name, type, size } = entry.header;
        const path = join(folder, name.slice(name.indexOf('/') + 1));
        const file = type === 'file' ? left.get(path) : undefined;
        if (!file || size !== file.size) {
          entry.resume();
          continue;
        }
        left.delete(path);
        yield { file, bytes: await bytesOf(file, entry) };
      }
    } catch (error) {
      throw engineFailure(error, 'read from the workspace');
    } finally {
      if (source) {
        source.destroy();
        this.#reading.delete(source);
      }
      if (container) this.#idle.push(container);
    }
  }

  /** The container is free again when the stream was read to its end or destroyed. */
  async #stream(container: Docker.Container, path: string): Promise<Readable> {
    const { source, content } = await firstFile(container, path);
    this.#reading.add(source);
    source.once('close', () => {
      this.#reading.delete(source);
      this.#idle.push(container);
    });
    return content;
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
    for (const source of this.#reading) source.destroy();
    for (const archive of await Promise.allSettled(this.#archives)) {
      if (archive.status === 'fulfilled') await removeContainer(archive.value);
    }
    if (this.order.inherited) {
      // What stays is left to the sweep.
      await sweepAttempt(this.order.engine, this.order.identity, this.attempt).catch(() => {});
    }
    const volume = this.order.engine.getVolume(this.volume);
    await removeInsisting(() => volume.remove());
    this.order.onDispose(this);
  }

  /** Taken from the idle ones; whoever takes it gives it back. */
  async #archive(): Promise<Docker.Container> {
    const { engine, identity, image, attempt } = this.order;
    const idle = this.#idle.pop();
    if (idle) return idle;
    const made = engine.createContainer({
      name: nameOf(identity, 'files', attempt),
      Image: image,
      Cmd: ['/bin/sh'],
      Labels: labelsOf(identity, 'files', attempt),
      HostConfig: {
        NetworkMode: 'none',
        CapDrop: ['ALL'],
        LogConfig: { Type: 'none', Config: {} },
        Mounts: [{ Type: 'volume', Source: this.volume, Target: MOUNT }],
      },
    });
    this.#archives.push(made);
    return made;
  }
}

function linksAsTar(links: readonly Link[]): Readable {
  const pack = tar.pack();
  for (const { path, target, mtime } of links) {
    const parts = path.split('/');
    if (parts.some((part) => part === '' || part === '.' || part === '..'))
      throw new FarmError('workspace-error', `${quotedPath(path)} is no path below the workspace`);
    const name = join(MOUNT.slice(1), ...parts);
    pack.entry({ name, type: 'symlink', linkname: target, mtime, uid: 0, gid: 0 });
  }
  pack.finalize();
  return pack as unknown as Readable;
}

function refused(path: string, why: string): FarmError {
  return new FarmError('artifact-refused', `${quotedPath(path)}: ${why}`);
}

type Kind = 'file' | 'directory' | 'other' | 'none';

/** Of the last part itself: a link is not followed. */
async function kindOf(container: Docker.Container, path: string): Promise<Kind> {
  try {
    const answer = (await container.infoArchive({ path })) as IncomingMessage;
    // Unread, even an empty answer would keep its connection for good.
    answer.resume();
    const stat = Buffer.from(
      String(answer.headers['x-docker-container-path-stat']),
      'base64',
    ).toString();
    const { mode } = JSON.parse(stat) as { mode: number };
    if (mode >= GO_DIRECTORY) return 'directory';
    // oxlint-disable-next-line no-bitwise -- a set of flags
    return (mode & GO_KINDS) === 0 ? 'file' : 'other';
  } catch (error) {
    if (statusOf(error) === 404) return 'none';
    throw error;
  }
}

/** Every part is a directory: nothing on the way is a link. */
async function checkFolder(container: Docker.Container, folder: string): Promise<void> {
  const parts = folder === '' ? [] : folder.split('/');
  for (let depth = 1; depth <= parts.length; depth++)
    if ((await kindOf(container, join(MOUNT, ...parts.slice(0, depth)))) !== 'directory')
      throw refused(folder, 'is no folder any more, or lies behind a link');
}

/** Every part but the last is a directory, the last a file: nothing on the way is a link. */
async function checkKinds(
  container: Docker.Container,
  path: string,
  parts: readonly string[],
): Promise<void> {
  for (let depth = 1; depth <= parts.length; depth++) {
    const kind = await kindOf(container, `${MOUNT}/${parts.slice(0, depth).join('/')}`);
    if (kind === 'none') throw refused(path, 'is not there');
    if (kind !== (depth < parts.length ? 'directory' : 'file')) {
      throw refused(path, 'is no regular file, or lies behind a link');
    }
  }
}

/** The content of the one file that the archive call wraps into a tar, and the call's own stream. */
async function firstFile(
  container: Docker.Container,
  path: string,
): Promise<{ source: Readable; content: Readable }> {
  const source = (await container.getArchive({ path: `${MOUNT}/${path}` })) as Readable;
  const extract = tar.extract();
  source.on('error', (error) => extract.destroy(error));
  source.on('close', () => {
    if (!source.readableEnded) extract.destroy(new Error('the engine broke the stream off'));
  });
  source.pipe(extract as unknown as NodeJS.WritableStream);
  const first = await extract[Symbol.asyncIterator]().next();
  if (first.done || first.value.header.type !== 'file') {
    source.destroy();
    throw refused(path, 'is no regular file');
  }
  const content = new PassThrough();
  extract.on('error', (error) => content.destroy(error));
  (first.value as unknown as Readable).pipe(content);
  // Also when nobody ever read from it.
  content.once('close', () => source.destroy());
  return { source, content };
}
