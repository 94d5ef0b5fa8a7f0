import { createReadStream } from 'node:fs';
import { lstat, opendir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import tar from 'tar-stream';

/**
 * A folder as a tar stream: plain files, directories and links, owned by root (the user of the steps), with
 * permission bits and nothing else of the machine. `done` runs once after the stream ended or was destroyed.
 */
export function tarOf(
  folder: string,
  done: () => Promise<void>,
  log: (line: string) => void,
): Readable {
  const pack = tar.pack();
  const fill = async (): Promise<void> => {
    try {
      await addFolder(pack, folder, '', log);
      pack.finalize();
      await finished(pack as unknown as Readable);
    } catch (error) {
      (pack as unknown as Readable).destroy(error as Error);
    } finally {
      await done();
    }
  };
  fill().catch((error: unknown) => (pack as unknown as Readable).destroy(error as Error));
  return pack as unknown as Readable;
}

async function addFolder(
  pack: tar.Pack,
  root: string,
  below: string,
  log: (line: string) => void,
): Promise<void> {
  for await (const { name } of await opendir(join(root, below))) {
    const path = below === '' ? name : `${below}/${name}`;
    if (path.includes('\uFFFD')) {
      log(`left out: the name ${JSON.stringify(path)} is not valid UTF-8`);
      continue;
    }
    const full = join(root, path);
    const stats = await lstat(full);
    const header = { name: path, mode: stats.mode & 0o777, uid: 0, gid: 0, mtime: stats.mtime };
    if (stats.isDirectory()) {
      await addEmpty(pack, { ...header, type: 'directory' });
      await addFolder(pack, root, path, log);
    } else if (stats.isSymbolicLink()) {
      await addEmpty(pack, { ...header, type: 'symlink', linkname: await readlink(full) });
    } else if (stats.isFile()) {
      const entry = pack.entry({ ...header, type: 'file', size: stats.size });
      await pipeline(createReadStream(full), entry);
    }
  }
}

function addEmpty(pack: tar.Pack, header: Partial<tar.Header> & { name: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    pack.entry(header, (error) => (error ? reject(error) : resolve()));
  });
}
