import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { GONE, removeAll } from './cache-files.js';
import { tryLock, type Lock } from './lock.js';

/**
 * The folder of a worker's mirrors and clones. A clone is there while it is packed; its name holds the id of the
 * process that made it, and `process-<id>.lock` is held as long as that lives: what nobody holds is removed by a sweep.
 */
export class Cache {
  readonly #id = randomBytes(4).toString('hex');
  readonly #clones = new Set<string>();
  #alive: Promise<Lock | undefined> | undefined;

  constructor(readonly folder: string) {}

  /** A new folder for one clone; `removeClone` is its end. */
  async newClone(): Promise<string> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    this.#alive ??= tryLock(join(this.folder, `process-${this.#id}.lock`)).catch(() => undefined);
    await this.#alive;
    const clone = await mkdtemp(join(this.folder, `clone-${this.#id}-`));
    this.#clones.add(clone);
    return clone;
  }

  /** Never rejects: what stays is for the next sweep. */
  async removeClone(clone: string): Promise<void> {
    await removeAll(clone).catch(() => {});
    this.#clones.delete(clone);
  }

  /**
   * Removes what processes left that are no more: clones, and what could not be removed before. Goes on after each
   * failure. Answers how many things it removed.
   */
  async sweep(): Promise<number> {
    const names = await readdir(this.folder).catch(() => []);
    let removed = 0;
    const dead = new Map<string, boolean>();
    for (const name of names) {
      const left = name.startsWith(GONE) || (await this.#isLeft(name, dead));
      if (left && (await isRemoved(join(this.folder, name)))) removed += 1;
    }
    for (const [id, isDead] of dead)
      if (isDead) await rm(join(this.folder, `process-${id}.lock`), { force: true });
    return removed;
  }

  async #isLeft(name: string, dead: Map<string, boolean>): Promise<boolean> {
    const clone = /^clone-(?:([0-9a-f]{8})-)?/.exec(name);
    const id = clone?.[1] ?? /^process-([0-9a-f]{8})\.lock$/.exec(name)?.[1];
    // Earlier versions did not say who made it; they had one process a folder.
    if (id === undefined) return clone !== null;
    if (id === this.#id) return clone !== null && !this.#clones.has(join(this.folder, name));
    if (!dead.has(id)) dead.set(id, await isFree(join(this.folder, `process-${id}.lock`)));
    return clone !== null && dead.get(id) === true;
  }
}

const caches = new Map<string, Cache>();

/** One a folder. */
export function cacheAt(folder: string): Cache {
  const cache = caches.get(folder) ?? new Cache(folder);
  caches.set(folder, cache);
  return cache;
}

async function isFree(path: string): Promise<boolean> {
  const lock = await tryLock(path).catch(() => undefined);
  await lock?.release();
  return lock !== undefined;
}

async function isRemoved(path: string): Promise<boolean> {
  try {
    await removeAll(path);
    return true;
  } catch {
    return false;
  }
}
