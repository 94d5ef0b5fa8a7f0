import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, lstat, mkdir, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Artifact, Client } from '@impgem/client';
import { FarmError, cutBytes } from '@impgem/kit';

/**
 * Fetches one artifact into a folder: into a file beside it first, which takes its name when size and SHA-256
 * are right. A path that would leave the folder, by `..` or by a link that lies in it, is refused with
 * `FarmError('artifact-refused')`, and so are wrong bytes.
 */
export async function download(
  client: Client,
  build: number,
  artifact: Artifact,
  folder: string,
  { signal, onBytes }: { signal: AbortSignal; onBytes(bytes: number): void },
): Promise<string> {
  const file = await placeFor(folder, artifact.path);
  const part = join(dirname(file), `.${cutBytes(basename(file), 200)}.part`);
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await rm(part, { force: true });
    const { body } = await client.builds.artifact(build, artifact.path, { signal });
    const count = new Transform({
      transform(chunk: Buffer, _, next) {
        hash.update(chunk);
        bytes += chunk.length;
        onBytes(chunk.length);
        next(null, chunk);
      },
    });
    const source = body === null ? Readable.from([]) : Readable.fromWeb(body as never);
    await pipeline(source, count, createWriteStream(part, { flags: 'wx', mode: 0o600 }), {
      signal,
    });
    const sha256 = hash.digest('hex');
    if (bytes !== artifact.size || sha256 !== artifact.sha256)
      throw new FarmError(
        'artifact-refused',
        `${artifact.path} came wrong: ${bytes} bytes with SHA-256 ${sha256}, but the master has ${artifact.size} with ${artifact.sha256}`,
      );
    // Never set-uid: the bits come from a build.
    await chmod(part, (artifact.mode & 0o777) | 0o600);
    await rename(part, file);
    return file;
  } catch (error) {
    await rm(part, { force: true });
    throw error;
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
  signal: AbortSignal,
): Promise<number> {
  const part = `${file}.part`;
  let bytes = 0;
  try {
    await mkdir(dirname(file), { recursive: true });
    const { body } = await client.builds.archive(build, format, { signal });
    const source = body === null ? Readable.from([]) : Readable.fromWeb(body as never);
    source.on('data', (chunk: Uint8Array) => (bytes += chunk.length));
    await pipeline(source, createWriteStream(part), { signal });
    await rename(part, file);
    return bytes;
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** Makes the folders for a path below `folder`, and answers where the file goes. */
async function placeFor(folder: string, path: string): Promise<string> {
  const refuse = (why: string) =>
    new FarmError('artifact-refused', `${JSON.stringify(path)} ${why}`);
  const parts = path.split('/');
  if (parts.some((part) => ['', '.', '..'].includes(part)) || /[\0\\]/.test(path))
    throw refuse('is not a path below the folder');
  await mkdir(folder, { recursive: true });
  let at = await realpath(folder);
  for (const part of parts.slice(0, -1)) {
    at = join(at, part);
    // One at a time, since `recursive` would follow a link.
    await mkdir(at).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    if (!(await lstat(at)).isDirectory()) throw refuse('leads over something that is not a folder');
  }
  const file = join(at, basename(path));
  const there = await lstat(file).catch(() => undefined);
  if (there && !there.isFile()) throw refuse('exists there and is not a file');
  return file;
}
