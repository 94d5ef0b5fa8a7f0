import { FarmError } from '@impgem/kit';
import type { PlannedSource } from '@impgem/pipeline';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { git, GitError } from './git.js';
import type { GitRun } from './git.js';
import { Mirror } from './mirror.js';
import type { Found } from './mirror.js';
import { checkRef, transportOf, withoutPassword } from './source.js';
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
}

const QUIET_MS = 60_000;

/**
 * Fetches a repository into the worker's mirror and hands out a real clone of the commit. Nothing that the
 * repository or the machine configures is run, no prompt is shown; submodules and LFS are left to the steps.
 *
 * Rejects with `source-unavailable` (git's last lines and what to do), `cancelled`, or `worker-error` (no git).
 */
export async function checkout(options: CheckoutOptions): Promise<CheckedOut> {
  const { source, cacheDir, signal } = options;
  const transport = transportOf(source.git, options.allowLocal ?? false);
  if (source.ref !== undefined) checkRef(source.ref);
  const shown = withoutPassword(source.git);
  const hide = (line: string): string => line.replaceAll(source.git, shown);
  const run: GitRun = {
    protocols: [transport],
    log: (line) => options.log(hide(line)),
    signal,
    quietMs: options.quietMs ?? QUIET_MS,
  };
  await mkdir(cacheDir, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(cacheDir, 'clone-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const mirror = new Mirror(cacheDir, source.git);
    const revision = await mirror.use(source.ref, run, async (found) => {
      await clone({ mirror: mirror.path, folder, found, origin: shown, run });
      return found.revision;
    });
    return { revision, tar: tarOf(folder, remove, options.log) };
  } catch (error) {
    await remove();
    throw explain(error, shown, source.ref, hide);
  }
}

interface CloneOrder {
  mirror: string;
  folder: string;
  found: Found;
  origin: string;
  run: GitRun;
}

async function clone({ mirror, folder, found, origin, run }: CloneOrder): Promise<void> {
  const quiet: GitRun = { ...run, protocols: ['file'], cwd: folder };
  // Objects are hard links into the mirror: no copying, whatever the size of the history.
  const options = ['--quiet', '--local', '--no-checkout', '--template='];
  await git(['clone', ...options, '--', mirror, folder], quiet);
  await git(['remote', 'set-url', 'origin', origin], quiet);
  const at = found.branch === undefined ? ['--detach'] : ['-B', found.branch];
  await git(['checkout', '--quiet', '--force', ...at, found.revision, '--'], quiet);
}

function explain(
  error: unknown,
  shown: string,
  ref: string | undefined,
  hide: (line: string) => string,
): unknown {
  if (!(error instanceof GitError)) return error;
  const said = error.tail.map(hide).join('\n');
  const what = ref === undefined ? shown : `${shown} at ${ref}`;
  return new FarmError(
    'source-unavailable',
    `the source ${what} cannot be had: ${error.message}${said ? `\n${said}` : ''}\n` +
      'Check the address and the ref, that this worker reaches the host, and that its ssh key or ~/.netrc is let in.',
    {},
    { cause: error },
  );
}
