import { link, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Counter } from 'prom-client';

/**
 * Files by the SHA-256 of their content, below a folder: `<2 digits>/<64 digits>`. A blob is durable and whole when
 * it has its name, and never changes.
 */
export class BlobStore {
  constructor(private readonly folder: string) {}

  /** Where the blob of this SHA-256 (hex) lies, or will lie. */
  path(sha256: string): string {
    return join(this.folder, sha256.slice(0, 2), sha256);
  }

  has(sha256: string): Promise<boolean> {
    return stat(this.path(sha256)).then(
      (found) => found.isFile(),
      () => false,
    );
  }

  /** Makes a file a blob: synced, then renamed. The file must be on the same file system; it is gone afterwards. */
  async adopt(file: string, sha256: string): Promise<void> {
    if (!(await this.#place(file, sha256, rename))) await rm(file, { force: true });
  }

  /** The same, but the file keeps its own name too, for who may have to do it again. */
  async link(file: string, sha256: string): Promise<void> {
    await this.#place(file, sha256, async (from, to) =>
      link(from, to).catch((error: NodeJS.ErrnoException) => {
        // Another one with the same content came first.
        if (error.code !== 'EEXIST') throw error;
      }),
    );
  }

  /** The blobs whose names begin with this byte. */
  async named(first: number): Promise<string[]> {
    const folder = join(this.folder, first.toString(16).padStart(2, '0'));
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name));
  }

  /** Bytes that were removed. */
  async remove(sha256: string): Promise<number> {
    const file = this.path(sha256);
    const { size } = await stat(file).catch(() => ({ size: 0 }));
    await rm(file, { force: true });
    return size;
  }

  /** Whether it was not there before. */
  async #place(
    file: string,
    sha256: string,
    name: (from: string, to: string) => Promise<void>,
  ): Promise<boolean> {
    if (await this.has(sha256)) return false;
    const target = this.path(sha256);
    const { size } = await sync(file);
    const made = await mkdir(dirname(target), { recursive: true });
    if (made !== undefined) await sync(dirname(made));
    await name(file, target);
    await sync(dirname(target));
    stored.inc(size);
    return true;
  }
}

/** Settles when the file, or the names in the folder, are on the disk. */
export async function sync(path: string) {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
    return await handle.stat();
  } finally {
    await handle.close();
  }
}

const stored = new Counter({
  name: 'impgem_blob_bytes_total',
  help: 'Bytes added to the blob store',
});
