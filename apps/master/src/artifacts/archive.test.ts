import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ARCHIVE_FORMATS, type ArchivedFile, type ArchiveFormat, archiveOf } from './archive.js';

const run = promisify(execFile);
const pause = () => undefined;
const PATHS = [
  'dist/app.bin',
  'a b/ü "q" %2e.txt',
  '日本/語',
  `deep/${'x'.repeat(120)}/${'y'.repeat(120)}`,
  'empty',
];

let folder: string;
let files: (ArchivedFile & { file: string })[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-archive-'));
  await mkdir(join(folder, 'blobs'));
  const time = new Date('2026-01-02T03:04:06Z');
  files = await Promise.all(
    PATHS.map(async (path, n) => {
      const content = randomBytes(path === 'empty' ? 0 : 100_000 * n + 1);
      const file = join(folder, 'blobs', String(n));
      await writeFile(file, content);
      return {
        path,
        size: content.length,
        mode: n === 0 ? 0o755 : 0o644,
        time,
        file,
        open: async () => createReadStream(file),
      };
    }),
  );
});
afterEach(() => rm(folder, { recursive: true }));

const sha256 = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

/** By programs that know nothing of us. */
async function unpack(format: ArchiveFormat, archive: string, into: string): Promise<void> {
  if (format === 'tar') return void (await run('tar', ['-xf', archive, '-C', into]));
  await run('unzip', ['-q', archive, '-d', into]).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return run('python3', ['-m', 'zipfile', '-e', archive, into]);
  });
}

it.each([700, 1500])('a zip of %i files has the length that was told', async (count) => {
  const one = { size: 1, mode: 0o644, time: new Date(), open: async () => Readable.from(['x']) };
  const many = Array.from({ length: count }, (_, n) => ({ ...one, path: `out/file-${n}` }));
  const { stream, length } = await archiveOf('zip', many, pause);
  const archive = join(folder, 'many.zip');
  await pipeline(stream, createWriteStream(archive));
  expect((await stat(archive)).size).toBe(length);
  await unpack('zip', archive, join(folder, 'many'));
  expect(await readdir(join(folder, 'many/out'))).toHaveLength(count);
});

describe.each(ARCHIVE_FORMATS)('a %s of artifacts', (format) => {
  it('is unpacked to the same files by a common program', async () => {
    const { stream, length } = await archiveOf(format, files, pause);
    const archive = join(folder, `all.${format}`);
    await pipeline(stream, createWriteStream(archive));
    if (length !== undefined) expect((await stat(archive)).size).toBe(length);
    const out = join(folder, 'out');
    await mkdir(out);
    await unpack(format, archive, out);
    for (const { path, file } of files)
      expect([path, await sha256(join(out, path))]).toEqual([path, await sha256(file)]);
    const found = await readdir(out, { recursive: true, withFileTypes: true });
    expect(found.filter((entry) => entry.isFile())).toHaveLength(files.length);
    if (format === 'tar') expect((await stat(join(out, 'dist/app.bin'))).mode & 0o777).toBe(0o755);
  });

  it('fails when a file has gone, rather than to leave it out', async () => {
    await rm(files[2]?.file ?? '');
    const { stream } = await archiveOf(format, files, pause);
    await expect(pipeline(stream, createWriteStream(join(folder, 'half')))).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });

  it('closes the file it reads when nobody wants the rest', async () => {
    const before = (await readdir('/proc/self/fd')).length;
    const { stream } = await archiveOf(format, files, pause);
    for await (const _ of stream) break;
    expect(stream.destroyed).toBe(true);
    while ((await readdir('/proc/self/fd')).length > before)
      await new Promise((done) => setTimeout(done, 5));
  });

  it('of no files is empty', async () => {
    const { stream } = await archiveOf(format, [], pause);
    let bytes = 0;
    for await (const chunk of stream) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(format === 'zip' ? 22 : 1024);
  });
});

it('as tar ends with its error, and nothing else, when a content fails', async () => {
  const failing = files.map((file) => ({ ...file, open: () => Promise.reject(new Error('away')) }));
  const { stream } = await archiveOf('tar', failing, pause);
  await new Promise((resolve) => {
    stream.once('close', resolve);
    stream.resume();
  });
  expect(() => stream.emit('error', new Error('away'))).not.toThrow();
});
