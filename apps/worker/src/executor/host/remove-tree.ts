import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs';
import type { Dirent } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';

/** What could not be removed: how many entries, and why the first of them could not. */
export interface Stuck {
  count: number;
  why: string;
}

/** Linux' `O_PATH`, which Node has no name for: a descriptor of a folder whose mode lets nobody in. */
const O_PATH = 0o10000000;
const FOLDER = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const OWNER = 0o700;
/** Bytes of a file that a file system may need a while to free: another thread does that. */
const BIG = 1024 * 1024;
/** How long others wait for their turn, in milliseconds. */
const SLICE_MS = 5;
/** Entries that one call lists. */
const LISTED = 256;
/** Somebody who makes files faster than they go is left to the next time. */
const ROUNDS = 5;

/**
 * Removes a folder with all that is in it, whatever modes, names and depth that has. Undefined when nothing is left; what
 * cannot be removed stays, and the rest goes all the same. No link is followed, and nothing outside is touched: each
 * entry is named below the descriptor of its folder. Folders are moved up into `folder` instead of being gone down
 * into, so that no path gets long and two descriptors are enough at any depth. What is mounted in it cannot be moved
 * and so is not entered. By calls that wait, in slices: each takes microseconds, a turn through the thread pool ten times
 * that.
 */
export async function removeTree(folder: string): Promise<Stuck | undefined> {
  let why = '';
  for (let round = 0; round < ROUNDS; round++) {
    try {
      rmdirSync(folder);
      return undefined;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      why = (error as Error).message;
    }
    const stuck = await new Removal(folder).run();
    if (stuck) return stuck;
  }
  return { count: 1, why };
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

const below = (folder: number, name: Buffer | string): Buffer =>
  Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), Buffer.from(name as string)]);

class Removal {
  /** Numbers of folders that were moved up and not looked into yet. */
  readonly #moved: number[] = [];
  readonly #prefix = `.impgem-${randomBytes(6).toString('hex')}-`;
  #next = 0;
  #count = 0;
  #why = '';
  #since = performance.now();

  constructor(private readonly folder: string) {}

  /** One go at everything; the folder itself is not removed. */
  async run(): Promise<Stuck | undefined> {
    try {
      await within(this.folder, async (root) => {
        await this.#empty(root, root);
        for (let number; (number = this.#moved.pop()) !== undefined;)
          await this.#removeMoved(root, below(root, `${this.#prefix}${number}`));
      });
    } catch (error) {
      this.#stays(error);
    }
    return this.#count > 0 ? { count: this.#count, why: this.#why } : undefined;
  }

  async #removeMoved(root: number, path: Buffer): Promise<void> {
    const before = this.#count;
    try {
      await within(path, (folder) => this.#empty(folder, root));
      rmdirSync(path);
    } catch (error) {
      // What stays in it was counted, and is why it stays itself.
      if (this.#count === before) this.#stays(error);
    }
  }

  async #empty(folder: number, root: number): Promise<void> {
    const options = { encoding: 'buffer' as 'utf8', bufferSize: LISTED };
    const entries = opendirSync(`/proc/self/fd/${folder}`, options);
    try {
      for (let entry; (entry = entries.readSync()) !== null;) {
        await this.#remove(folder, entry, root);
        if (performance.now() - this.#since > SLICE_MS) await this.#pause();
      }
    } finally {
      entries.closeSync();
    }
  }

  async #pause(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }

  async #remove(folder: number, entry: Dirent, root: number): Promise<void> {
    // By its bytes: a name need not be UTF-8.
    const name = entry.name as unknown as Buffer;
    if (folder === root && name.includes(this.#prefix)) return;
    const path = below(folder, name);
    try {
      if (await isUnlinked(path, entry)) return;
      if (!isRemoved(path)) this.#moveUp(path, root);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') this.#stays(error);
    }
  }

  /** A folder that is moved is written to, since its `..` changes. */
  #moveUp(path: Buffer, root: number): void {
    closeSync(entered(path));
    const number = this.#next++;
    renameSync(path, below(root, `${this.#prefix}${number}`));
    this.#moved.push(number);
  }

  #stays(error: unknown): void {
    this.#why ||= (error as Error).message.replaceAll(/\/proc\/self\/fd\/\d+\//g, '…/');
    this.#count++;
  }
}

async function within(
  path: string | Buffer,
  what: (folder: number) => Promise<void>,
): Promise<void> {
  const folder = entered(path);
  try {
    await what(folder);
  } finally {
    closeSync(folder);
  }
}

/** A descriptor of a folder that its owner may list and change; its mode is changed if need be. Follows no link. */
function entered(path: string | Buffer): number {
  const folder = openSync(path, FOLDER);
  try {
    const { mode } = fstatSync(folder);
    // By the descriptor, so that it is this folder; fchmod takes none of this kind.
    if ((mode & OWNER) !== OWNER) chmodSync(`/proc/self/fd/${folder}`, (mode & 0o777) | OWNER);
  } catch {
    // Not ours: what cannot be removed for that says so.
  }
  return folder;
}

/** False when it is a folder. */
async function isUnlinked(path: Buffer, entry: Dirent): Promise<boolean> {
  if (entry.isDirectory()) return false;
  try {
    if (entry.isFile() && lstatSync(path).size > BIG) await unlink(path);
    else unlinkSync(path);
    return true;
  } catch (error) {
    // Some file systems do not say in a listing what is a folder.
    if (codeOf(error) === 'EISDIR') return false;
    throw error;
  }
}

/** False when the folder is not empty. */
function isRemoved(path: Buffer): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOTEMPTY' || codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}
