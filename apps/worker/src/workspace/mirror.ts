import { FarmError } from '@impgem/kit';
import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { git, GitError } from './git.js';
import type { GitRun } from './git.js';
import { COMMIT_ID } from './source.js';

/** One mirror is changed by one checkout at a time; the rest waits here. Keyed by path. */
const locks = new Map<string, Promise<unknown>>();

async function locked<T>(path: string, work: () => Promise<T>): Promise<T> {
  const before = locks.get(path) ?? Promise.resolve();
  const mine = before.then(work, work);
  locks.set(path, mine);
  try {
    return await mine;
  } finally {
    if (locks.get(path) === mine) locks.delete(path);
  }
}

export interface Found {
  /** Full commit id. */
  revision: string;
  /** Short name, when the ref is a branch. */
  branch?: string;
}

const EVERYTHING = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];
const DEFAULT = 'refs/impgem/default';

/**
 * A bare copy of one repository on the worker's disk. All history is kept: a fetch then costs the new commits
 * only, and `git describe` works in builds. (A shallow mirror would make the server pack anew for each build.)
 */
export class Mirror {
  readonly path: string;

  constructor(
    cacheDir: string,
    private readonly address: string,
  ) {
    this.path = join(
      cacheDir,
      `${createHash('sha256').update(address).digest('hex').slice(0, 32)}.git`,
    );
  }

  /**
   * Brings the mirror up to date and says what `ref` means (the default branch when absent), then lets `use`
   * work with it while nobody else changes it. A commit id that is there already costs no network.
   */
  async use<T>(
    ref: string | undefined,
    run: GitRun,
    use: (found: Found) => Promise<T>,
  ): Promise<T> {
    return locked(this.path, async () => {
      await this.#prepare(run);
      const local = { ...run, log: () => {} };
      const known =
        ref !== undefined && COMMIT_ID.test(ref) ? await this.#commit(ref, local) : undefined;
      if (known !== undefined) return use({ revision: known });
      await this.#fetch(ref, run);
      return use(await this.#resolve(ref, local));
    });
  }

  async #prepare(run: GitRun): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    if (await exists(join(this.path, 'HEAD'))) {
      // Left by a git that was killed; we hold the only lock that counts.
      for (const name of await readdir(this.path)) {
        if (name.endsWith('.lock')) await rm(join(this.path, name), { force: true });
      }
      return;
    }
    await git(['init', '--quiet', '--bare', '--template=', '--', this.path], run);
  }

  async #fetch(ref: string | undefined, run: GitRun): Promise<void> {
    const refspecs =
      ref === undefined
        ? [...EVERYTHING, `+HEAD:${DEFAULT}`]
        : ref.startsWith('refs/') && !/^refs\/(heads|tags)\//.test(ref)
          ? [`+${ref}:${ref}`]
          : EVERYTHING;
    await this.#fetchRefs(refspecs, run);
    if (ref === undefined || !COMMIT_ID.test(ref)) return;
    if ((await this.#commit(ref, run)) !== undefined) return;
    // A commit that no branch leads to; servers may hand it out by its id.
    await this.#fetchRefs([`+${ref}:refs/impgem/commit/${ref}`], run);
  }

  async #fetchRefs(refspecs: readonly string[], run: GitRun): Promise<void> {
    const prune = refspecs[0] === EVERYTHING[0] ? ['--prune'] : [];
    const args = ['fetch', '--progress', '--force', '--no-tags', ...prune];
    await git([...args, '--no-write-fetch-head', '--', this.address, ...refspecs], {
      ...run,
      cwd: this.path,
    });
  }

  async #resolve(ref: string | undefined, run: GitRun): Promise<Found> {
    if (ref === undefined) return this.#default(run);
    if (COMMIT_ID.test(ref) || ref.startsWith('refs/')) {
      const revision = await this.#commit(ref, run);
      if (revision !== undefined) return { revision };
    }
    const ofBranch = await this.#commit(`refs/heads/${ref}`, run);
    if (ofBranch !== undefined) return { revision: ofBranch, branch: ref };
    const ofTag = await this.#commit(`refs/tags/${ref}`, run);
    if (ofTag !== undefined) return { revision: ofTag };
    throw new FarmError(
      'source-unavailable',
      `the repository has no branch, tag or commit ${JSON.stringify(ref)}`,
    );
  }

  async #default(run: GitRun): Promise<Found> {
    const revision = await this.#commit(DEFAULT, run);
    if (revision === undefined) {
      throw new FarmError('source-unavailable', 'the repository has no default branch');
    }
    const heads = await git(
      ['for-each-ref', '--points-at', revision, '--format=%(refname:short)', 'refs/heads'],
      { ...run, cwd: this.path },
    );
    const names = heads.split('\n').filter(Boolean);
    const branch = ['main', 'master'].find((name) => names.includes(name)) ?? names[0];
    return branch === undefined ? { revision } : { revision, branch };
  }

  async #commit(name: string, run: GitRun): Promise<string | undefined> {
    try {
      const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
      return (await git(args, { ...run, cwd: this.path })).trim();
    } catch (error) {
      if (error instanceof GitError) return undefined;
      throw error;
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
