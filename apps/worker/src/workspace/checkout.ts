import { cutCredentials, FarmError, withoutCredentials } from '@impgem/kit';
import type { PlannedSource } from '@impgem/pipeline';
import { mkdir } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Link } from '../executor/index.js';
import { cacheAt } from './cache.js';
import { removeAll } from './cache-files.js';
import { git, GitError } from './git.js';
import type { GitRun } from './git.js';
import { ofMachine } from './git-fault.js';
import { Mirror } from './mirror.js';
import type { Found } from './mirror.js';
import { checkRef, transportOf } from './source.js';
import { tarOf } from './tar-of.js';

export interface CheckoutOptions {
  source: PlannedSource;
  /** Absolute; mirrors live below, one folder a repository, and clones while they are packed. */
  cacheDir: string;
  /** Takes lines for the log of the step. */
  log: (line: string) => void;
  signal: AbortSignal;
  /** Repositories on the worker's own disk may be used. */
  allowLocal?: boolean;
  /** An address that says nothing for so long does not answer; in milliseconds. */
  quietMs?: number;
}

export interface CheckedOut {
  /** Full commit id. */
  revision: string;
  /**
   * The working tree with its `.git`, as a tar of plain files, directories and links that belong to root.
   * Read it or destroy it: the clone on disk goes away with it.
   */
  tar: Readable;
  /** Links in the tree that lead out of it; complete once the tar has been read. They are not in it. */
  outward: readonly Link[];
}

const QUIET_MS = 60_000;

/**
 * Fetches a repository into the worker's mirror and hands out a real clone of the commit. Nothing that the
 * repository or the machine configures is run, no prompt is shown; submodules and LFS are left to the steps.
 * Neither the clone nor anything that is said of it holds the credentials that the address may have.
 *
 * Rejects with `source-unavailable` (git's last lines and what to do), `cancelled`, or `worker-error` (no git, no
 * room, a folder that cannot be used).
 */
export async function checkout(options: CheckoutOptions): Promise<CheckedOut> {
  const { source, cacheDir, signal } = options;
  const transport = transportOf(source.git, options.allowLocal ?? false);
  if (source.ref !== undefined) checkRef(source.ref);
  const origin = withoutCredentials(source.git);
  const hide = (line: string): string => cutCredentials(line).replaceAll(source.git, origin);
  const run: GitRun = {
    protocols: [transport],
    log: (line) => options.log(hide(line)),
    signal,
    quietMs: options.quietMs ?? QUIET_MS,
  };
  const cache = cacheAt(cacheDir);
  const folder = await cache.newClone().catch((error: unknown) => {
    throw ofMachine(origin, error);
  });
  const remove = (): Promise<void> => cache.removeClone(folder);
  try {
    const mirror = new Mirror(cacheDir, source.git);
    const revision = await mirror.use(source.ref, run, async (found, local) => {
      await clone({ mirror: mirror.path, folder, found, origin, run: local });
      return found.revision;
    });
    const outward: Link[] = [];
    return { revision, tar: tarOf({ folder, done: remove, log: options.log, outward }), outward };
  } catch (error) {
    await remove();
    throw explain(error, origin, source.ref, hide);
  }
}

interface CloneOrder {
  mirror: string;
  folder: string;
  found: Found;
  origin: string;
  run: GitRun;
}

/**
 * What git knows of files by their time of change, inode and owner is not the same after they were packed and
 * unpacked; size and second of modification are. Without this every file of a fresh workspace looks changed.
 */
const STAT = ['-c', 'core.checkStat=minimal', '-c', 'core.trustctime=false'];

async function clone({ mirror, folder, found, origin, run }: CloneOrder): Promise<void> {
  const { gitDir: _, ...outside } = { ...run, protocols: ['file'] };
  const inside: GitRun = { ...outside, gitDir: `${folder}/.git`, workTree: folder };
  // What an earlier try left.
  await removeAll(folder);
  await mkdir(folder, { mode: 0o700 });
  // Objects are hard links into the mirror: no copying, whatever the size of the history.
  const options = ['--quiet', '--local', '--no-checkout', '--template=', ...STAT];
  const branch = found.branch === undefined ? [] : [`--branch=${found.branch}`];
  await git(['clone', ...options, ...branch, '--', mirror, folder], outside);
  await git(['remote', 'set-url', 'origin', origin], inside);
  const at = found.branch === undefined ? ['--detach'] : ['-B', found.branch];
  await git(['checkout', '--quiet', '--force', ...at, found.revision, '--'], inside);
}

function explain(
  error: unknown,
  shown: string,
  ref: string | undefined,
  hide: (line: string) => string,
): unknown {
  if (!(error instanceof GitError)) return error;
  const said = error.said.map(hide).join('\n');
  const what = ref === undefined ? shown : `${shown} at ${ref}`;
  return new FarmError(
    'source-unavailable',
    `the source ${what} cannot be had: ${error.message}${said ? `\n${said}` : ''}\n` +
      'Check the address and the ref, that this worker reaches the host, and that its ssh key or ~/.netrc is let in.',
    {},
    { cause: error },
  );
}
