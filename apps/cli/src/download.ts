import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { link, lstat, mkdir, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Artifact, Client } from '@impgem/client';
import { FarmError, foldedPath, PathNames, portablePathProblem, quotedPath } from '@impgem/kit';

export interface DownloadOptions {
  signal: AbortSignal;
  /** Files that are there already may be replaced. */
  force: boolean;
}

/** More than any build has. */
const MOST_FILES = 1_000_000;

/**
 * Fetches artifacts of one build into a folder: each into a file beside it first, which takes its name when size and
 * SHA-256 are right, so that a file with the name of an artifact is whole. What an earlier run left half done is removed.
 *
 * Nothing is written outside of the folder (by `..` or by a link that lies in it), into the own folders of git and
 * the like, over a file with other content unless that is asked for, or under a path that this system takes for that of
 * another artifact: these are refused with `FarmError('artifact-refused')`, and so are wrong bytes.
 */
export class Downloads {
  readonly #names = new PathNames(MOST_FILES);
  #fetched = 0;

  constructor(
    private readonly client: Client,
    private readonly build: number,
    private readonly folder: string,
    private readonly options: DownloadOptions,
  ) {}

  /** Answers where it lies. One that is there already is not fetched again. */
  async fetch(artifact: Artifact, onBytes: (bytes: number) => void = () => {}): Promise<string> {
    const file = await this.#placeFor(artifact.path);
    if (await isThere(file, artifact, this.options.force)) {
      onBytes(artifact.size);
      return file;
    }
    // Never set-uid: the bits come from a build. The rest is for the umask to say.
    const mode = (artifact.mode & 0o777) | 0o600;
    await intoPlace(file, mode, this.options, async () => {
      const { signal } = this.options;
      const { body } = await this.client.builds.artifact(this.build, artifact.path, { signal });
      return checked(body, artifact, onBytes);
    });
    return file;
  }

  /** Makes the folders for a path below the folder, and answers where the file goes. */
  async #placeFor(path: string): Promise<string> {
    const refuse = (why: string) =>
      new FarmError('artifact-refused', `${quotedPath(path)}: ${why}`);
    const problem = portablePathProblem(path) ?? problemHere(path);
    if (problem !== undefined)
      throw refuse(`${problem}; --archive has it under a name that all systems take`);
    const taken = this.#names.claim(path, this.#fetched++);
    if (taken !== undefined) throw refuse(taken);
    const parts = path.split('/');
    await mkdir(this.folder, { recursive: true });
    let at = await realpath(this.folder);
    if (at.split(sep).some((part) => part !== '.impgem' && isGuarded(part)))
      throw refuse('the folder belongs to a version control system, which would run what is in it');
    if (parts.some(isGuarded))
      throw refuse('lies in the own folder of a version control system, or of this program');
    for (const part of parts.slice(0, -1)) {
      at = join(at, part);
      // One at a time, since `recursive` would follow a link.
      await mkdir(at).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
      if (!(await lstat(at)).isDirectory())
        throw refuse('leads over something that is not a folder');
    }
    const file = join(at, basename(path));
    const there = await lstat(file).catch(() => undefined);
    if (there && !there.isFile()) throw refuse('exists there and is not a file');
    return file;
  }
}

/** The own folders of version control systems, some of which run what lies in them, and of this program. */
const GUARDED = new Set(['.GIT', '.HG', '.SVN', '.IMPGEM']);

/** By any name that some system takes for theirs: other case, characters that it ignores, short names, streams. */
function isGuarded(part: string): boolean {
  const plain = foldedPath(part)
    .replace(/:.*$/, '')
    .replace(/[. ]+$/, '');
  return GUARDED.has(plain) || /^(?:GIT|HG|SVN|IMPGEM)~\d+$/.test(plain);
}

function problemHere(path: string): string | undefined {
  if (process.platform !== 'win32' || !/[<>:"|?*]/.test(path)) return undefined;
  return 'the path has a character in it that is not allowed on this system';
}

/** Whether the very file is there. Rejects when another one is, unless it may be replaced. */
async function isThere(file: string, artifact: Artifact, force: boolean): Promise<boolean> {
  const there = await lstat(file).catch(() => undefined);
  if (!there) return false;
  if (there.size === artifact.size) {
    const hash = createHash('sha256');
    for await (const bytes of createReadStream(file)) hash.update(bytes as Buffer);
    if (hash.digest('hex') === artifact.sha256) return true;
  }
  if (!force) throw exists(file);
  return false;
}

const exists = (file: string): FarmError =>
  new FarmError(
    'artifact-refused',
    `${quotedPath(file)}: is there already, with other content; --force replaces it`,
  );

/** The bytes of an answer; ends with an error when they are not those of the artifact. */
function checked(
  body: unknown,
  artifact: Artifact,
  onBytes: (bytes: number) => void,
): [Readable, Transform] {
  const hash = createHash('sha256');
  let bytes = 0;
  const check = new Transform({
    transform(chunk: Buffer, _, next) {
      hash.update(chunk);
      bytes += chunk.length;
      onBytes(chunk.length);
      next(null, chunk);
    },
    flush(next) {
      const sha256 = hash.digest('hex');
      if (bytes === artifact.size && sha256 === artifact.sha256) return next();
      const came = `${bytes} bytes with SHA-256 ${sha256}`;
      const has = `the master has ${artifact.size} with ${artifact.sha256}`;
      const text = `${quotedPath(artifact.path)} came wrong: ${came}, but ${has}`;
      next(new FarmError('artifact-refused', text));
    },
  });
  return [streamOf(body), check];
}

const streamOf = (body: unknown): Readable =>
  body === null ? Readable.from([]) : Readable.fromWeb(body as never);

/** Writes a file beside, which takes its name when it is whole; nothing of it stays otherwise. */
async function intoPlace(
  file: string,
  mode: number,
  { signal, force }: DownloadOptions,
  open: () => Promise<[Readable, ...Transform[]]>,
): Promise<void> {
  // Short, whatever the length of the file's own name, and the same at the next try.
  const name = createHash('sha256').update(basename(file)).digest('hex').slice(0, 16);
  const part = join(dirname(file), `.impgem-${name}.part`);
  try {
    await rm(part, { force: true });
    await pipeline([...(await open()), createWriteStream(part, { flags: 'wx', mode })], { signal });
    if (force) await rename(part, file);
    else await nameIfFree(part, file);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/** As `rename`, but whatever came to have the name meanwhile keeps it. */
async function nameIfFree(part: string, file: string): Promise<void> {
  try {
    await link(part, file);
    await rm(part);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw exists(file);
    // A file system without hard links.
    if (!NO_LINKS.includes(code)) throw error;
    if (await lstat(file).catch(() => undefined)) throw exists(file);
    await rename(part, file);
  }
}

/**
 * Fetches all artifacts of a build as one file, which takes its name when it is there to its end: an archive whose
 * master went away in the middle is cut off, and that is an error of the connection. Answers its bytes.
 */
export async function downloadArchive(
  client: Client,
  build: number,
  format: 'zip' | 'tar',
  file: string,
  options: DownloadOptions,
): Promise<number> {
  if (!options.force && (await lstat(file).catch(() => undefined))) throw exists(file);
  let bytes = 0;
  await mkdir(dirname(resolve(file)), { recursive: true });
  await intoPlace(resolve(file), 0o666, options, async () => {
    const { body } = await client.builds.archive(build, format, { signal: options.signal });
    const count = new Transform({
      transform(chunk: Buffer, _, next) {
        bytes += chunk.length;
        next(null, chunk);
      },
    });
    return [streamOf(body), count];
  });
  return bytes;
}
