/**
 * Which data folder counts as made here. A program that starts in some folder meets there what a git checkout, an
 * unpacked archive or another user has put: settings, credentials, process numbers, a database. None of it counts
 * unless the folder was made on this machine by one of our programs. The proof is a mark in the folder that holds the
 * folder's own inode number and time of birth: git, tar and cp cannot know them before they write, and a copy has
 * others.
 *
 * Whoever names a folder (a flag, a whole path in the environment) has decided; then nothing here is asked.
 */

interface Facts {
  isDirectory(): boolean;
  isFile(): boolean;
  isSymbolicLink(): boolean;
  uid: bigint;
  mode: bigint;
  ino: bigint;
  size: bigint;
  /** Nanoseconds since 1970; 0 where the file system does not keep it. */
  birthtimeNs: bigint;
}

/** What this needs of Node; `runtime:any` libraries import nothing of it. */
export interface FolderHost {
  fs: {
    lstatSync(path: string, options: { bigint: true; throwIfNoEntry: false }): Facts | undefined;
    readdirSync(path: string): string[];
    readFileSync(path: string): Uint8Array;
    mkdirSync(path: string, options: { recursive: true; mode: number }): unknown;
    writeFileSync(path: string, text: string, options: { mode: number; flag: string }): void;
    renameSync(from: string, to: string): void;
    rmSync(path: string, options: { force: true }): void;
  };
  /** `spawnSync` of `node:child_process`. */
  spawnSync(
    command: string,
    args: string[],
    options: { encoding: 'utf8'; env: Record<string, string>; timeout: number },
  ): { status: number | null; stdout: string };
  /** `process.getuid()`; absent where the system has no users. */
  uid: number | undefined;
}

const MARK = 'made-here';
/** Between the birth of a database's folder and the time that the database keeps of its making. */
const MAKING_S = 60n;
const GIT_MS = 10_000;
/** Of a mark, and of a database's control file, which has 8 KiB. */
const MOST_BYTES = 16_384n;

/**
 * Why the folder `names.join('/')` below `base` does not count, in words that follow its path; undefined when it does,
 * when there is none yet, or when it is empty. Reads only.
 */
export function whyForeign(
  host: FolderHost,
  base: string,
  names: readonly string[],
): string | undefined {
  let marked = false;
  let folder = base;
  for (const name of names) {
    folder = `${folder}/${name}`;
    const facts = factsOf(host, folder);
    if (!facts) return undefined;
    const why = whyNotClosed(host, facts);
    if (why !== undefined) return names.at(-1) === name ? why : `${folder} ${why}`;
    const mark = markOf(host, folder);
    if (mark !== undefined && mark !== proof(facts))
      return 'was made elsewhere and copied or unpacked here';
    marked ||= mark !== undefined;
  }
  const entries = host.fs.readdirSync(folder);
  if (entries.length === 0) return undefined;
  if (!marked && !isOfEarlierVersion(host, folder, entries))
    return 'was not made here by this program; a checkout or an archive may bring such a folder';
  return isTracked(host, folder) ? 'holds files that git tracks' : undefined;
}

/** Makes the folder when it is missing, and marks it as made here. Throws what the file system throws for a new one. */
export function makeOwn(host: FolderHost, folder: string): void {
  const { fs } = host;
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  // One that was named may be a link.
  const facts = factsOf(host, `${folder}/.`);
  if (!facts || markOf(host, folder) === proof(facts)) return;
  const inUse = fs.readdirSync(folder).length > 0;
  const half = `${folder}/${MARK}.new`;
  try {
    fs.rmSync(half, { force: true });
    fs.writeFileSync(half, `${proof(facts)}\n`, { mode: 0o600, flag: 'wx' });
    fs.renameSync(half, `${folder}/${MARK}`);
  } catch (error) {
    // A full disk ends no program that has run here before: the next start marks the folder.
    if (!inUse) throw error;
  }
}

/** Whether our programs made the folder, on this machine and in this place. */
export function isMarked(host: FolderHost, folder: string): boolean {
  const facts = factsOf(host, folder);
  return facts?.isDirectory() === true && markOf(host, folder) === proof(facts);
}

/** Why a file is no secret of this user's, in words that follow its path; undefined when it is one. */
export function whyNotSecret(host: FolderHost, file: string): string | undefined {
  const facts = factsOf(host, file);
  if (!facts) return 'is not there';
  if (facts.isSymbolicLink()) return 'is a link';
  if (!facts.isFile()) return 'is not a plain file';
  if (isOfAnother(host, facts)) return 'belongs to another user';
  if ((facts.mode & 0o077n) !== 0n) return 'may be read by others (it needs mode 0600)';
  return undefined;
}

/** Whether the folder is this user's and closed to others; an archive can bring such a one, too. */
export function isPrivate(host: FolderHost, folder: string): boolean {
  const facts = factsOf(host, folder);
  return (
    facts?.isDirectory() === true && !isOfAnother(host, facts) && (facts.mode & 0o777n) === 0o700n
  );
}

/** Whether the work tree around a folder has files of it. Where there is no git, it has none. */
export function isTracked(host: FolderHost, folder: string): boolean {
  const parts = folder.split('/');
  const inWorkTree = parts.some((_, i) => factsOf(host, `${parts.slice(0, i).join('/')}/.git`));
  if (!inWorkTree) return false;
  // Nothing that a repository's own settings name may run.
  const safe = ['core.fsmonitor=false', 'protocol.allow=never', 'safe.directory=*'];
  const { status, stdout } = host.spawnSync(
    'git',
    [...safe.flatMap((setting) => ['-c', setting]), '-C', folder, 'ls-files', '-z', '--', '.'],
    {
      encoding: 'utf8',
      timeout: GIT_MS,
      env: {
        PATH: '/usr/local/bin:/usr/bin:/bin',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_OPTIONAL_LOCKS: '0',
        GIT_NO_LAZY_FETCH: '1',
      },
    },
  );
  return status === 0 && stdout !== '';
}

/** Why others could have put something into it. */
function whyNotClosed(host: FolderHost, facts: Facts): string | undefined {
  if (facts.isSymbolicLink()) return 'is a link';
  if (!facts.isDirectory()) return 'is not a folder';
  if (isOfAnother(host, facts)) return 'belongs to another user';
  if ((facts.mode & 0o022n) !== 0n) return 'may be written by others (it needs mode 0700)';
  return undefined;
}

const factsOf = ({ fs }: FolderHost, path: string): Facts | undefined => {
  try {
    return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    // A file in place of a folder above it.
    if ((error as { code?: string }).code === 'ENOTDIR') return undefined;
    throw error;
  }
};

const isOfAnother = ({ uid }: FolderHost, facts: Facts): boolean =>
  uid !== undefined && facts.uid !== BigInt(uid);

const proof = ({ ino, birthtimeNs }: Facts): string => `${ino} ${birthtimeNs}`;

/** What the mark says; undefined when there is none. */
function markOf(host: FolderHost, folder: string): string | undefined {
  const file = `${folder}/${MARK}`;
  const facts = factsOf(host, file);
  if (!facts) return undefined;
  if (!facts.isFile() || facts.size > MOST_BYTES) return 'no mark';
  return String.fromCharCode(...host.fs.readFileSync(file)).trim();
}

const OF_WORKER = ['credential.json', 'spool', 'mirrors', 'images.json'];

/**
 * Versions before the mark made folders too. Of a farm the database tells: it keeps the second in which it was made,
 * which is that of its folder's birth only where it was made. Of a worker alone nothing tells; its folder may go on
 * when it is closed and nothing in it steers the worker, which makes its caches anew then.
 */
function isOfEarlierVersion(host: FolderHost, folder: string, entries: readonly string[]): boolean {
  const database = ['master/postgres/data', 'postgres/data'].find((place) =>
    factsOf(host, `${folder}/${place}`),
  );
  if (database !== undefined) return isDatabaseMadeHere(host, folder, database);
  return (
    isPrivate(host, folder) &&
    entries.every((name) => OF_WORKER.includes(name)) &&
    whyNotSecret(host, `${folder}/credential.json`) === undefined
  );
}

function isDatabaseMadeHere(host: FolderHost, folder: string, place: string): boolean {
  let path = folder;
  for (const name of place.split('/')) {
    path = `${path}/${name}`;
    if (!factsOf(host, path)?.isDirectory()) return false;
  }
  const control = `${path}/global/pg_control`;
  const facts = factsOf(host, control);
  if (!factsOf(host, `${path}/global`)?.isDirectory()) return false;
  if (!facts?.isFile() || facts.size > MOST_BYTES) return false;
  const bytes = host.fs.readFileSync(control);
  if (bytes.length < 8) return false;
  // Its first member is the system identifier, whose upper half is the time of `initdb` in seconds since 1970.
  const made = BigInt(new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true));
  const born = (factsOf(host, path)?.birthtimeNs ?? 0n) / 1_000_000_000n;
  return born > 0n && made >= born - 1n && made <= born + MAKING_S;
}
