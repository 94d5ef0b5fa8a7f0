import { FarmError } from '@impgem/kit';
import type Docker from 'dockerode';
import { Readable } from 'node:stream';
import tar from 'tar-stream';
import type { Attempt, Identity, WorkspaceFile } from '../executor.js';
import { Demultiplexer } from './demultiplexer.js';
import { removeContainer } from './docker-step.js';
import { labelsOf, nameOf } from './labels.js';

/** Bytes of archive that a listing may cost before a helper is cheaper. */
const ARCHIVE_BUDGET = 32 * 1024 * 1024;
/** Bytes of names of one workspace, held in memory while it is listed. */
const NAMES_BUDGET = 128 * 1024 * 1024;

/** The listing from the engine's archive of the mount; undefined when it is too big for that. */
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
  return {
    path,
    type: unreadable(path) ? 'other' : (TYPES[type] ?? 'other'),
    size,
    mode: mode % 0o10000,
  };
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

/** A name that is no UTF-8 cannot be asked for again by any call of the engine. */
function unreadable(path: string): boolean {
  return path.includes('\uFFFD');
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
 * a name holds, it cannot pass for another one or for its figures.
 */
const LIST =
  "find . -mindepth 1 -print0; find . -mindepth 1 -print0 | xargs -0 -r stat -c '%f %s' >&2";

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
      const path = name.replace(/^\.\//, '');
      const [mode = 0, size = 0] = (figures[index] ?? '')
        .split(' ')
        .map((figure, at) => parseInt(figure, at === 0 ? 16 : 10));
      yield { path, type: unreadable(path) ? 'other' : typeOf(mode), size, mode: mode % 0o10000 };
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
  const out = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let size = 0;
  for await (const chunk of stream) {
    for (const piece of demux.push(chunk as Buffer)) {
      size += piece.bytes.length;
      if (size > NAMES_BUDGET) {
        throw new FarmError('workspace-error', 'the workspace holds too many files to list');
      }
      out[piece.stream].push(piece.bytes);
    }
  }
  return { names: lines(out.stdout, '\0'), figures: lines(out.stderr, '\n') };
}

function lines(pieces: Buffer[], end: string): string[] {
  return Buffer.concat(pieces).toString().split(end).slice(0, -1);
}
