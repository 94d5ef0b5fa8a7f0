import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FarmError } from '@impgem/kit';
import { inherited } from '../config.js';

const execute = promisify(execFile);

/**
 * Makes a bare git repository whose branch `main` has the files of a folder, or a commit in it when they have
 * changed. So the quick start checks out a real repository without a network. Rejects when there is no git.
 */
export async function sampleRepository(project: string, repository: string): Promise<void> {
  const index = join(repository, 'index.sample');
  const env = {
    ...Object.fromEntries(Object.entries(inherited()).filter(([name]) => !name.startsWith('GIT_'))),
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_DIR: repository,
    GIT_INDEX_FILE: index,
    GIT_AUTHOR_NAME: 'Imp Gem',
    GIT_AUTHOR_EMAIL: 'quickstart@localhost',
    GIT_COMMITTER_NAME: 'Imp Gem',
    GIT_COMMITTER_EMAIL: 'quickstart@localhost',
  };
  const git = async (...args: string[]) => {
    try {
      return (await execute('git', args, { env, cwd: project })).stdout.trim();
    } catch (error) {
      throw whatFailed(error as NodeJS.ErrnoException);
    }
  };
  if (!existsSync(join(repository, 'HEAD')))
    await git('init', '--quiet', '--bare', '--initial-branch=main', repository);
  await rm(index, { force: true });
  await git('--work-tree', project, 'add', '--all', '--force', '.');
  const tree = await git('write-tree');
  await rm(index, { force: true });
  const head = await git('rev-parse', '--verify', '--quiet', 'refs/heads/main^{tree}').catch(
    () => '',
  );
  if (head === tree) return;
  const parent = head === '' ? [] : ['-p', 'refs/heads/main'];
  const commit = await git('commit-tree', tree, ...parent, '-m', 'The project of the quick start');
  await git('update-ref', 'refs/heads/main', commit);
}

function whatFailed(error: NodeJS.ErrnoException & { stderr?: string }): FarmError {
  return error.code === 'ENOENT'
    ? new FarmError(
        'no-git',
        'there is no git on this machine; install it, e.g. with: apt-get install git',
      )
    : new FarmError(
        'git-failed',
        `git: ${error.stderr?.trim() ?? error.message}`,
        {},
        { cause: error },
      );
}
