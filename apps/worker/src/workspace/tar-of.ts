import { createReadStream } from 'node:fs';
import { lstat, opendir, readlink } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import type { Link } from '../executor/index.js';

/** What a tar of a folder is made for. */
export interface TarOrder {
  folder: string;
  /** Runs once after the stream ended or was destroyed. */
  done: () => Promise<void>;
  log: (line: string) => void;
  /** Gets the links that lead out of the folder; they are not in the tar, since engines refuse it with them. */
  outward: Link[];
}

/**
 * A folder as a tar stream: plain files, directories and links, owned by root (the user of the steps), with
 * permission bits, seconds of modification and nothing else of the machine.
 */
export function tarOf(order: TarOrder): Readable {
  const pack = tar.pack();
  const fill = async (): Promise<void> => {
    try {
      await addFolder(pack, order, '');
      pack.finalize();
      await finished(pack as unknown as Readable);
    } catch (error) {
      (pack as unknown as Readable).destroy(error as Error);
    } finally {
      await order.done();
    }
  };
  void fill();
  return pack as unknown as Readable;
}

/** Folders last, so that only one is open at a time, however deep they are. */
async function addFolder(pack: tar.Pack, order: TarOrder, below: string): Promise<void> {
  const { folder, log, outward } = order;
  const folders: string[] = [];
  for await (const { name } of await opendir(join(folder, below))) {
    const path = below === '' ? name : `${below}/${name}`;
    if (path.includes('\uFFFD')) {
      log(`left out: the name ${JSON.stringify(path)} is not valid UTF-8`);
      continue;
    }
    const full = join(folder, path);
    const stats = await lstat(full);
    const { mtime } = stats;
    const header = { name: path, mode: stats.mode & 0o777, uid: 0, gid: 0, mtime };
    if (stats.isDirectory()) {
      await addEmpty(pack, { ...header, type: 'directory' });
      folders.push(path);
    } else if (stats.isSymbolicLink()) {
      const target = await readlink(full);
      if (leadsOut(path, target)) outward.push({ path, target, mtime });
      else await addEmpty(pack, { ...header, type: 'symlink', linkname: target });
    } else if (stats.isFile()) {
      const entry = pack.entry({ ...header, type: 'file', size: stats.size });
      await pipeline(createReadStream(full), entry);
    }
  }
  for (const path of folders) await addFolder(pack, order, path);
}

/** As text: what links on the way mean is not looked at. */
function leadsOut(path: string, target: string): boolean {
  return !target.startsWith('/') && /^\.\.(?:\/|$)/.test(normalize(join(dirname(path), target)));
}

function addEmpty(pack: tar.Pack, header: Partial<tar.Header> & { name: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    pack.entry(header, (error) => (error ? reject(error) : resolve()));
  });
}
