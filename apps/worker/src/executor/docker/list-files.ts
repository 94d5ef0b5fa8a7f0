import { FarmError, slices } from '@impgem/kit';
import type Docker from 'dockerode';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import tar from 'tar-stream';
import type { Attempt, Identity, WorkspaceFile } from '../executor.js';
import { Demultiplexer } from './demultiplexer.js';
import { removeContainer } from './docker-step.js';
import { labelsOf, nameOf } from './labels.js';

/** Bytes of archive that a listing may cost before a helper is cheaper. */
const ARCHIVE_BUDGET = 32 * 1024 * 1024;
/** Bytes of names of one workspace, held in memory while it is listed. */
const NAMES_BUDGET = 128 * 1024 * 1024;

/** The listing from the engine's archive of the mount, which has no sockets; undefined when it is too big for that. */
export async function listByArchive(
  container: Docker.Container,
  mount: string,
): Promise<WorkspaceFile[] | undefined> {
  const source = (await container.getArchive({ path: mount })) as Readable;
  const extract = tar.extract();
  let size = 0;
  let tooBig = false;
  source.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= ARCHIVE_BUDGET) return;
    tooBig = true;
    source.destroy();
    extract.destroy(new Error('over budget'));
  });
  source.on('error', (error) => extract.destroy(error));
  source.pipe(extract as unknown as NodeJS.WritableStream);
  const files = new Map<string, WorkspaceFile>();
  try {
    for await (const entry of extract) {
      const file = fileOf(entry.header, files);
      if (file) files.set(file.path, file);
      entry.resume();
    }
  } catch (error) {
    if (!tooBig) throw error;
    return undefined;
  }
  return [...files.values()];
}

function fileOf(
  { name, type, size, mode, linkname }: tar.Header,
  before: ReadonlyMap<string, WorkspaceFile>,
): WorkspaceFile | undefined {
  const path = below(name);
  if (path === '') return undefined;
  // A second name of a file comes as a reference to the first.
  const twin = type === 'link' ? before.get(below(linkname)) : undefined;
  if (twin) return { ...twin, path };
  return { path, type: TYPES[type] ?? 'other', size, mode: mode % 0o10000 };
}

const TYPES: Record<string, WorkspaceFile['type']> = {
  file: 'file',
  directory: 'directory',
  symlink: 'link',
};

/** The archive's names begin with the mount's last part. */
function below(name: string): string {
  const at = name.indexOf('/');
  return at < 0 ? '' : name.slice(at + 1).replace(/\/$/, '');
}

export interface HelperOrder {
  engine: Docker;
  identity: Identity;
  image: string;
  attempt: Attempt;
  volume: string;
}

/**
 * Names go to stdout, each ended by NUL, and type, mode and size of each to stderr, in the same order. Whatever
 * a name holds, it cannot pass for another one or for its figures. What cannot be asked for, since its path is longer
 * than the system takes, is left out of both; so are sockets, of which an archive does not tell either.
 */
const LIST =
  'exec 3>&2 2>/dev/null; list() { find . -mindepth 1 ! -type s -print0; }; ' +
  "list; list | xargs -0 -r stat -c '%f %s' >&3";

/** The listing by a helper without network and without rights beyond reading. */
export async function* listByHelper(
  order: HelperOrder,
  mount: string,
): AsyncGenerator<WorkspaceFile> {
  const { engine, identity, image, attempt, volume } = order;
  const container = await engine.createContainer({
    name: nameOf(identity, 'helper', attempt),
    Image: image,
    Cmd: ['/bin/sh', '-c', LIST],
    WorkingDir: mount,
    Labels: labelsOf(identity, 'helper', attempt),
    HostConfig: {
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      CapAdd: ['DAC_READ_SEARCH'],
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none', Config: {} },
      Mounts: [{ Type: 'volume', Source: volume, Target: mount, ReadOnly: true }],
    },
  });
  try {
    const attached = (await container.attach({
      stream: true,
      stdout: true,
      stderr: true,
    })) as unknown as Readable;
    await container.start();
    const { names, figures } = await collect(attached);
    if (names.length !== figures.length) {
      throw new FarmError('workspace-error', 'the workspace changed while it was listed');
    }
    for (const [index, name] of names.entries()) {
      const [mode = 0, size = 0] = (figures[index] ?? '')
        .split(' ')
        .map((figure, at) => parseInt(figure, at === 0 ? 16 : 10));
      yield { path: name.replace(/^\.\//, ''), type: typeOf(mode), size, mode: mode % 0o10000 };
    }
  } finally {
    await removeContainer(container);
  }
}

function typeOf(mode: number): WorkspaceFile['type'] {
  switch (Math.floor(mode / 0o10000)) {
    case 0o10:
      return 'file';
    case 0o4:
      return 'directory';
    case 0o12:
      return 'link';
    default:
      return 'other';
  }
}

async function collect(stream: Readable): Promise<{ names: string[]; figures: string[] }> {
  const demux = new Demultiplexer();
  const pause = slices(
    () => performance.now(),
    () => setImmediate(),
  );
  const lists = { stdout: new Texts(0), stderr: new Texts(0x0a) };
  let size = 0;
  for await (const chunk of stream) {
    for (const piece of demux.push(chunk as Buffer)) {
      size += piece.bytes.length;
      if (size > NAMES_BUDGET) {
        throw new FarmError('workspace-error', 'the workspace holds too many files to list');
      }
      lists[piece.stream].push(piece.bytes);
    }
    await pause();
  }
  return { names: lists.stdout.texts, figures: lists.stderr.texts };
}

/** Texts that end in a byte of their own, taken apart as they come. */
class Texts {
  readonly texts: string[] = [];
  #begun: Buffer[] = [];

  constructor(private readonly end: number) {}

  push(bytes: Buffer): void {
    let from = 0;
    for (let at = bytes.indexOf(this.end); at >= 0; at = bytes.indexOf(this.end, from)) {
      const last = bytes.subarray(from, at);
      this.texts.push(
        this.#begun.length > 0 ? Buffer.concat([...this.#begun, last]).toString() : last.toString(),
      );
      this.#begun = [];
      from = at + 1;
    }
    if (from < bytes.length) this.#begun.push(Buffer.from(bytes.subarray(from)));
  }
}
