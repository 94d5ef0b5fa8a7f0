import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Makes a git repository with one commit of these files; returns its address. */
export async function makeRepository(
  dir: string,
  files: Record<string, string | Buffer>,
): Promise<string> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), text);
  }
  const git = (...args: string[]) =>
    execute('git', ['-c', 'user.name=e2e', '-c', 'user.email=e2e@example.org', ...args], {
      cwd: dir,
    });
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '.');
  await git('commit', '--quiet', '--message', 'e2e: a repository');
  return `file://${dir}`;
}
