import { randomBytes } from 'node:crypto';
import { chmod, lstat, readdir, rename, rm } from 'node:fs/promises';
import type { Dirent } from 'node:fs';
import { dirname, join } from 'node:path';

/** What a folder or file is named until it is gone. */
export const GONE = 'gone-';

/**
 * Removes what a git that was killed left in a bare repository: locks at any depth, and half-written packs. Only for
 * who holds the lock of the mirror. Rejects when the repository's folders are not what they should be. Answers how many
 * packs there are.
 */
export async function clearLeftovers(repository: string): Promise<number> {
  const objects = join(repository, 'objects');
  const [packs] = await Promise.all([
    clear(join(objects, 'pack'), isLeft),
    clear(repository, isLock),
    clear(objects, isLeft),
    clear(join(objects, 'info'), isLeft),
    clear(join(objects, 'info', 'commit-graphs'), isLeft),
    clearDeep(join(repository, 'refs')),
  ]);
  return packs.filter(({ name }) => name.endsWith('.pack')).length;
}

const isLock = (name: string): boolean => name.endsWith('.lock');
const isLeft = (name: string): boolean => isLock(name) || name.startsWith('tmp_');

async function clear(folder: string, isLeftover: (name: string) => boolean): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  for (const { name } of entries.filter((entry) => isLeftover(entry.name)))
    await rm(join(folder, name), { recursive: true, force: true });
  return entries;
}

/** No ref is named so. */
async function clearDeep(folder: string): Promise<void> {
  for (const entry of await clear(folder, isLock))
    if (entry.isDirectory() && !isLock(entry.name)) await clearDeep(join(folder, entry.name));
}

/** Takes something out of use at once, whatever it is; it is removed as far as that goes, the sweep does the rest. */
export async function setAside(path: string): Promise<void> {
  const aside = join(dirname(path), `${GONE}${randomBytes(6).toString('hex')}`);
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  await removeAll(aside).catch(() => {});
}

/** Removes a folder even if modes of folders in it forbid that. */
export async function removeAll(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await makeWritable(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function makeWritable(folder: string): Promise<void> {
  if (!(await lstat(folder)).isDirectory()) return;
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory()) await makeWritable(join(folder, entry.name));
}

/** Bytes of the files below a folder, about; what goes away meanwhile does not count. */
export async function sizeOf(folder: string): Promise<number> {
  let bytes = 0;
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += await sizeOf(path);
    else bytes += (await lstat(path).catch(() => ({ size: 0 }))).size;
  }
  return bytes;
}
