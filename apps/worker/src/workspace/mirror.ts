import { FarmError, withoutCredentials } from '@impgem/kit';
import { nearest } from '@impgem/pipeline';
import { createHash } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { clearLeftovers, setAside } from './cache-files.js';
import { faultOf, isDamage, localFaultOf, ofMachine } from './git-fault.js';
import { git, GitError } from './git.js';
import type { GitRun } from './git.js';
import { locked } from './lock.js';
import { checkRef, COMMIT_ID } from './source.js';

export interface Found {
  /** Full commit id. */
  revision: string;
  /** Short name, when the ref is a branch. */
  branch?: string;
}

const EVERYTHING = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];
/** Where the commit goes that a remote's HEAD is at, when that is no branch. */
const DETACHED = 'refs/impgem/default';
/** What HEAD names as long as the remote's is not known, or is no branch. */
const NO_BRANCH = 'refs/impgem/none';
const PACKS_MAX = 50;
/** Git tells nothing while it packs, in milliseconds. */
const REPACK_MS = 10 * 60_000;
/** Commands that speak with the other side; all others work on this worker's disk. */
const REMOTE_COMMANDS = new Set(['fetch', 'ls-remote']);

/** The remote has it not, as far as the mirror tells. */
class UnknownRef extends FarmError {
  constructor(message: string) {
    super('source-unavailable', message);
  }
}

/** What a remote's HEAD is: a branch, a commit, or neither when nothing was pushed to it. */
interface RemoteHead {
  branch?: string;
  revision?: string;
}

/**
 * A bare copy of one repository on the worker's disk. All history is kept: a fetch then costs the new commits
 * only, and `git describe` works in builds. (A shallow mirror would make the server pack anew for each build.)
 *
 * It is a cache, no more: whatever is found to be wrong with it, it is made anew once, and what was asked for is
 * tried again. One checkout at a time works with it; locks that git left in it are removed, since only ours counts.
 */
export class Mirror {
  readonly path: string;
  /** Held while somebody works with the mirror; touched then. */
  readonly lock: string;

  constructor(
    cacheDir: string,
    private readonly address: string,
  ) {
    const id = createHash('sha256').update(address).digest('hex').slice(0, 32);
    this.path = join(cacheDir, `${id}.git`);
    this.lock = join(cacheDir, `${id}.lock`);
  }

  /**
   * Brings the mirror up to date and says what `ref` means (the default branch when absent), then lets `use`
   * work with it while nobody else changes it; `use` is called again when the mirror turns out to be damaged. A
   * commit id that is there already costs no network.
   *
   * Rejects with `worker-error` when the worker cannot keep a mirror, and with what git said or
   * `source-unavailable` when the remote, or what it holds, is to blame.
   */
  async use<T>(
    ref: string | undefined,
    run: GitRun,
    use: (found: Found, run: GitRun) => Promise<T>,
  ): Promise<T> {
    return locked(this.lock, run.signal, async ({ descriptor }) => {
      const mine: GitRun = { ...run, gitDir: this.path, lock: descriptor };
      try {
        return await this.#once(ref, mine, use);
      } catch (error) {
        if (!(await this.#isDamaged(error, ref, mine))) throw this.#blamed(error);
        const [why] = error instanceof GitError ? error.said : [];
        run.log(
          `this worker's copy of the repository is damaged and is made anew${why ? `: ${why}` : ''}`,
        );
      }
      try {
        await setAside(this.path);
        return await this.#once(ref, mine, use);
      } catch (error) {
        throw this.#blamed(error);
      }
    });
  }

  async #once<T>(
    ref: string | undefined,
    run: GitRun,
    use: (found: Found, run: GitRun) => Promise<T>,
  ): Promise<T> {
    await this.#prepare(run);
    const quiet: GitRun = { ...run, log: () => {} };
    const id = ref !== undefined && COMMIT_ID.test(ref) ? ref : undefined;
    const known = id === undefined ? undefined : await this.#commit(id, quiet);
    if (known !== undefined) return use({ revision: known }, quiet);
    const head =
      ref === undefined || (await this.#commit('HEAD', quiet)) === undefined
        ? await this.#remoteHead(quiet)
        : undefined;
    await this.#fetch(ref, head, run);
    if (head) await this.#follow(head, quiet);
    const found =
      ref === undefined ? await this.#default(head ?? {}, quiet) : await this.#resolve(ref, quiet);
    return use(found, quiet);
  }

  async #prepare(run: GitRun): Promise<void> {
    if (await isThere(this.path)) {
      if ((await clearLeftovers(this.path)) > PACKS_MAX) await this.#repack(run);
      return;
    }
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    const { gitDir: _, ...outside } = run;
    await git(['init', '--quiet', '--bare', '--template=', '--', this.path], outside);
    await git(['symbolic-ref', 'HEAD', NO_BRANCH], run);
  }

  /** Each fetch leaves a pack, and each pack costs time in every command: small ones become one. */
  async #repack(run: GitRun): Promise<void> {
    const patient = { ...run, log: () => {}, quietMs: Math.max(run.quietMs, REPACK_MS) };
    try {
      await git(['repack', '-d', '-l', '--quiet', '--geometric=2'], patient);
    } catch (error) {
      // One that is damaged shows itself in what follows; an old git does not know how, and works all the same.
      if (!(error instanceof GitError)) throw error;
    }
  }

  async #remoteHead(run: GitRun): Promise<RemoteHead> {
    const listed = await git(['ls-remote', '--symref', '--', this.address, 'HEAD'], run);
    const head: RemoteHead = {};
    for (const line of listed.split('\n')) {
      const [what = '', name] = line.split('\t');
      if (name !== 'HEAD') continue;
      const target = /^ref: refs\/heads\/(.+)$/.exec(what)?.[1];
      if (target !== undefined) head.branch = target;
      else if (COMMIT_ID.test(what)) head.revision = what;
    }
    return head;
  }

  async #fetch(ref: string | undefined, head: RemoteHead | undefined, run: GitRun): Promise<void> {
    const isDetached = ref === undefined && head?.revision !== undefined && !head.branch;
    const refspecs = isDetached
      ? [...EVERYTHING, `+HEAD:${DETACHED}`]
      : ref?.startsWith('refs/') && !/^refs\/(heads|tags)\//.test(ref)
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
    await git([...args, '--no-write-fetch-head', '--', this.address, ...refspecs], run);
  }

  /** The mirror's HEAD is the remote's, so that clones have the right `origin/HEAD`. */
  async #follow({ branch }: RemoteHead, run: GitRun): Promise<void> {
    const wanted = branch !== undefined && isRef(branch) ? `refs/heads/${branch}` : NO_BRANCH;
    const now = await readFile(join(this.path, 'HEAD'), 'utf8');
    if (now.trim() !== `ref: ${wanted}`) await git(['symbolic-ref', 'HEAD', wanted], run);
  }

  async #resolve(ref: string, run: GitRun): Promise<Found> {
    if (COMMIT_ID.test(ref) || ref.startsWith('refs/')) {
      const revision = await this.#commit(ref, run);
      const branch = /^refs\/heads\/(.+)$/.exec(ref)?.[1];
      if (revision !== undefined) return branch === undefined ? { revision } : { revision, branch };
    }
    const ofBranch = await this.#commit(`refs/heads/${ref}`, run);
    if (ofBranch !== undefined) return { revision: ofBranch, branch: ref };
    const ofTag = await this.#commit(`refs/tags/${ref}`, run);
    if (ofTag !== undefined) return { revision: ofTag };
    const branches = await this.#branches(run);
    if (branches.length === 0) throw isEmpty();
    const near = nearest(ref, branches);
    throw new UnknownRef(
      `the repository has no branch, tag or commit ${JSON.stringify(ref)}${near ? `; did you mean ${near}?` : ''}`,
    );
  }

  async #default(head: RemoteHead, run: GitRun): Promise<Found> {
    const { branch, revision } = head;
    if (branch === undefined && revision === undefined) {
      const branches = await this.#branches(run);
      if (branches.length === 0) throw isEmpty();
      throw new UnknownRef(
        `the repository's HEAD names a branch that is not there; say in the source's ref which one to build: ${branches.slice(0, 5).join(', ')}`,
      );
    }
    const at = await this.#commit(branch === undefined ? DETACHED : `refs/heads/${branch}`, run);
    if (at === undefined) throw new UnknownRef(`the repository's default branch went away`);
    return branch === undefined || !isRef(branch) ? { revision: at } : { revision: at, branch };
  }

  async #branches(run: GitRun): Promise<string[]> {
    const heads = await git(['for-each-ref', '--format=%(refname:short)', 'refs/heads'], run);
    return heads.split('\n').filter(Boolean);
  }

  async #commit(name: string, run: GitRun): Promise<string | undefined> {
    try {
      const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
      return (await git(args, run)).trim();
    } catch (error) {
      if (error instanceof GitError) return undefined;
      throw error;
    }
  }

  /** Whether a new mirror could do what this one could not. Asks the remote where git's words leave it open. */
  async #isDamaged(error: unknown, ref: string | undefined, run: GitRun): Promise<boolean> {
    if (run.signal.aborted) return false;
    if (error instanceof UnknownRef) return (await this.#ask(ref, run)) === 'has';
    if (error instanceof FarmError) return false;
    if (!(error instanceof GitError)) return isDamage(error);
    if (!REMOTE_COMMANDS.has(error.command)) return localFaultOf(error) === 'local';
    const fault = faultOf(error);
    return fault === 'local' || (fault === 'unknown' && (await this.#ask(ref, run)) !== 'fails');
  }

  /** Asked without the mirror, which may be what is wrong. */
  async #ask(ref: string | undefined, run: GitRun): Promise<'has' | 'lacks' | 'fails'> {
    const name = ref ?? 'HEAD';
    const wanted = [name, `refs/heads/${name}`, `refs/tags/${name}`];
    const outside = { ...run, gitDir: '/dev/null', log: () => {} };
    try {
      const listed = await git(['ls-remote', '--', this.address, ...wanted], outside);
      const names = listed.split('\n').map((line) => line.split('\t')[1] ?? '');
      return COMMIT_ID.test(name) || names.some((one) => wanted.includes(one)) ? 'has' : 'lacks';
    } catch (error) {
      if (error instanceof GitError) return 'fails';
      throw error;
    }
  }

  /** As it is told: what the worker is to blame for, apart from what the remote is. */
  #blamed(error: unknown): unknown {
    if (error instanceof FarmError) return error;
    const isRemote = error instanceof GitError && REMOTE_COMMANDS.has(error.command);
    const fault =
      error instanceof GitError ? (isRemote ? faultOf : localFaultOf)(error) : 'machine';
    return fault === 'local' || fault === 'machine'
      ? ofMachine(withoutCredentials(this.address), error)
      : error;
  }
}

function isEmpty(): UnknownRef {
  return new UnknownRef('the repository is empty: push a commit to it, then build again');
}

/** Whether git takes it for the name of a branch that it makes; a remote may have others. */
function isRef(name: string): boolean {
  try {
    checkRef(name);
    return true;
  } catch {
    return false;
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(join(path, 'HEAD'));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw error;
    // Something is there, but no HEAD: a mirror that was never finished, or lost it.
    if (await stat(path).catch(() => undefined)) await setAside(path);
    return false;
  }
}
