import { execFile } from 'node:child_process';
import { access, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/**
 * The nginx of this machine; else Debian's, unpacked into the folder and not installed, because its package starts
 * a server on port 80. Undefined, and said loudly, where there is neither.
 */
export async function findNginx(folder: string): Promise<string | undefined> {
  for (const dir of [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin']) {
    const file = join(dir, 'nginx');
    const found = await access(file).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  try {
    await mkdir(folder, { recursive: true });
    await execute('apt-get', ['download', 'nginx'], { cwd: folder }).catch(async () => {
      await execute('apt-get', ['update', '-qq']);
      await execute('apt-get', ['download', 'nginx'], { cwd: folder });
    });
    const file = (await readdir(folder)).find((name) => name.endsWith('.deb')) ?? '';
    await execute('dpkg', ['-x', file, '.'], { cwd: folder });
    const nginx = join(folder, 'usr/sbin/nginx');
    await execute(nginx, ['-v']);
    return nginx;
  } catch (error) {
    process.stderr.write(
      `!!! SKIPPED: there is no nginx here, and none to be had: ${String(error)} !!!\n`,
    );
    return undefined;
  }
}
