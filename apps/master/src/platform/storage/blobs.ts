import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
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
    const target = this.path(sha256);
    const existing = await stat(target).catch(() => undefined);
    if (existing) {
      await rm(file, { force: true });
      return;
    }
    const { size } = await sync(file);
    const made = await mkdir(dirname(target), { recursive: true });
    if (made !== undefined) await sync(dirname(made));
    await rename(file, target);
    await sync(dirname(target));
    stored.inc(size);
  }
}

async function sync(path: string) {
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
