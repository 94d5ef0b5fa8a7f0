import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { GONE, removeAll, setAside, sizeOf } from './cache-files.js';
import { tryLock, type Lock } from './lock.js';

/** What the mirrors of a worker may come to; what no build used for the longest time goes first. */
export interface MirrorLimits {
  /** A mirror that was not used for so long is removed, in milliseconds. */
  ageMs: number;
  /** How many there may be. */
  count: number;
  /** Bytes of all of them; the one that was used last stays even if it is bigger. */
  bytes: number;
}

interface Kept {
  id: string;
  /** When it was used last, in milliseconds since 1970. */
  used: number;
}

/**
 * The folder of a worker's mirrors and clones. A clone is there while it is packed; its name holds the id of the
 * process that made it, and `process-<id>.lock` is held as long as that lives: what nobody holds is removed by a sweep.
 */
export class Cache {
  readonly #id = randomBytes(4).toString('hex');
  readonly #clones = new Set<string>();
  #alive: Promise<Lock | undefined> | undefined;
  /** Bytes of each mirror, as of the use that it had then. */
  readonly #sizes = new Map<string, { used: number; bytes: number }>();

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

  /** Removes mirrors beyond the limits, but none that is in use. Answers how many. */
  async trim(limits: MirrorLimits, now = Date.now()): Promise<number> {
    const mirrors = await this.#mirrors();
    let bytes = 0;
    let kept = 0;
    let removed = 0;
    for (const mirror of mirrors.toReversed()) {
      const size = await this.#sizeOf(mirror);
      const isOver =
        now - mirror.used > limits.ageMs ||
        kept >= limits.count ||
        (kept > 0 && bytes + size > limits.bytes);
      if (isOver && (await this.#drop(mirror))) removed += 1;
      else {
        kept += 1;
        bytes += size;
      }
    }
    return removed;
  }

  /** Removes mirrors that are not in use, longest unused first, until there is enough room. Answers how many. */
  async evict(enough: () => Promise<boolean>): Promise<number> {
    let removed = 0;
    for (const mirror of await this.#mirrors()) {
      if (await enough()) break;
      if (await this.#drop(mirror)) removed += 1;
    }
    return removed;
  }

  /** Longest unused first. */
  async #mirrors(): Promise<Kept[]> {
    const names = await readdir(this.folder).catch(() => []);
    const ids = names.flatMap((name) => /^([0-9a-f]{32})\.git$/.exec(name)?.[1] ?? []);
    const mirrors: Kept[] = [];
    for (const id of ids) {
      const path = join(this.folder, id);
      // Those of earlier versions were used without this lock.
      const facts = await stat(`${path}.lock`).catch(() =>
        stat(`${path}.git`).catch(() => undefined),
      );
      if (facts) mirrors.push({ id, used: facts.mtimeMs });
    }
    return mirrors.toSorted((a, b) => a.used - b.used);
  }

  async #sizeOf({ id, used }: Kept): Promise<number> {
    const known = this.#sizes.get(id);
    if (known?.used === used) return known.bytes;
    const bytes = await sizeOf(join(this.folder, `${id}.git`));
    this.#sizes.set(id, { used, bytes });
    return bytes;
  }

  /** False when it is in use, or cannot be removed. */
  async #drop({ id }: Kept): Promise<boolean> {
    const path = join(this.folder, id);
    const lock = await tryLock(`${path}.lock`).catch(() => undefined);
    if (lock === undefined) return false;
    try {
      await setAside(`${path}.git`);
      await rm(`${path}.lock`, { force: true });
      this.#sizes.delete(id);
      return true;
    } catch {
      return false;
    } finally {
      await lock.release();
    }
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
