/**
 * A real PostgreSQL of our own in the data folder: made at the first start, adopted when it still runs after
 * the master was killed, started again when it died, stopped with the master.
 *
 * `<folder>/data` is Postgres' own, `password` (0600) its only user's, `port` the port it had last, `log` what it
 * says. It listens on loopback only, over TCP, with SCRAM. It runs in a session of its own, so that neither
 * Ctrl-C in the master's terminal nor the master's death stops it in the middle of something.
 */
import { spawn, type SpawnOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FarmError } from '@impgem/kit';
import { Client } from 'pg';
import {
  alive,
  childrenGone,
  hasProcess,
  isPostgres,
  ORPHANS_MS,
  readOr,
  signal,
} from './processes.js';
import {
  findBinaries,
  giveAllTo,
  giveTo,
  NOBODY,
  planLaunch,
  type Binaries,
  type Launch,
} from './postgres-binaries.js';

const USER = 'impgem';
const DATABASE = 'impgem';
/** Every client of ours names itself so, to tell whether another master still uses the database. */
const APPLICATION = 'impgem-master';

const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 30_000;
/** On a machine that is ten times slower and has much else to do, the first connection takes seconds. */
const CONNECT_MS = 30_000;
const POLL_MS = 20;

export type Say = (message: string, facts?: Record<string, unknown>) => void;

export interface EmbeddedPostgres {
  /** `postgres://…` of the farm's database. */
  url: string;
  port: number;
  pid: number;
  /** Starts it again if it has died; resolves when it answers. Port and password stay as they are. */
  revive(): Promise<void>;
  isRunning(): boolean;
  /**
   * Stops it and waits until it is gone; open connections are cut. While another master still uses it, it is
   * left running (resolves with `false`).
   */
  stop(): Promise<boolean>;
  /** Asks it to stop and does not wait. */
  stopNow(): void;
}

interface Place {
  folder: string;
  data: string;
  binaries: Binaries;
  launch: Launch;
  password: string;
  settings: Record<string, string>;
}

/**
 * Throws `FarmError` with `no-postgres`, `data-folder-unreachable`, `data-folder-version` or
 * `postgres-failed`, each with what to do.
 */
export async function startEmbeddedPostgres(options: {
  /** Made when missing. */
  folder: string;
  say?: Say;
  /** More server settings, e.g. for tests. */
  settings?: Record<string, string>;
  /** The programs; absent: those of the package. */
  binaries?: Binaries;
}): Promise<EmbeddedPostgres> {
  const say = options.say ?? (() => undefined);
  const binaries = options.binaries ?? (await findBinaries());
  const place = await prepare(options.folder, binaries, options.settings ?? {}, say);
  let server = (await adopt(place, say)) ?? (await launchPatiently(place, say));
  await createDatabase(place, server.port);
  return {
    url: url(place, server.port, DATABASE),
    get port() {
      return server.port;
    },
    get pid() {
      return server.pid;
    },
    async revive() {
      server = (await adopt(place, say)) ?? (await launchPatiently(place, say, server.port));
    },
    isRunning: () => alive(server.pid),
    async stop() {
      if (await hasOtherMasters(place, server.port)) {
        say('another master uses the database: it stays up', { pid: server.pid });
        return false;
      }
      await stop(server.pid);
      say('database stopped', { pid: server.pid });
      return true;
    },
    stopNow() {
      signal(server.pid, 'SIGINT');
    },
  };
}

/** As the user of this process. */
const OURSELVES: Launch = { as: () => ({ prefix: [], ids: {} }) };

interface Server {
  pid: number;
  port: number;
}

async function prepare(
  folder: string,
  binaries: Binaries,
  settings: Record<string, string>,
  say: Say,
): Promise<Place> {
  const home = path.resolve(folder);
  await mkdir(home, { recursive: true, mode: 0o700 });
  const launch = await planLaunch(binaries, home);
  const place = { folder: home, data: path.join(home, 'data'), binaries, launch, settings };
  const made = await readOr(path.join(place.data, 'PG_VERSION'), '');
  if (made) await checkMajor(place, made.trim());
  const password = (await readOr(path.join(home, 'password'), '')).trim();
  if (made && password) return { ...place, password };
  if (made)
    throw new FarmError(
      'postgres-failed',
      `${path.join(home, 'password')} is missing, so that nobody can sign in to the database in ${place.data}: put it back from a backup`,
    );
  return { ...place, password: await initialise(place, say) };
}

/** What is there of a database in a folder, without starting or changing anything. */
export async function lookAtEmbedded(folder: string): Promise<{
  /** Major version of the data; absent when none was made yet. */
  made?: string;
  /** Major version of the programs. */
  ours: string;
  /** Of the database, when it runs. */
  url?: string;
}> {
  const home = path.resolve(folder);
  const data = path.join(home, 'data');
  const binaries = await findBinaries();
  const place = { folder: home, data, binaries, launch: OURSELVES, settings: {} };
  const ours = await majorOf(place);
  const made = (await readOr(path.join(data, 'PG_VERSION'), '')).trim();
  if (!made) return { ours };
  const lines = (await readOr(path.join(data, 'postmaster.pid'), '')).split('\n');
  const pid = Number(lines[0]);
  const runs = pid > 0 && alive(pid) && (await isPostgres(pid, data));
  if (!runs) return { made, ours };
  const password = (await readOr(path.join(home, 'password'), '')).trim();
  return { made, ours, url: url({ ...place, password }, Number(lines[3]), DATABASE) };
}

async function majorOf(place: Omit<Place, 'password'>): Promise<string> {
  const { stdout } = await run(place, [place.binaries.postgres, '--version']);
  return /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1] ?? '';
}

/** A data folder of another major cannot be read: Postgres keeps no old formats. */
async function checkMajor(place: Omit<Place, 'password'>, found: string): Promise<void> {
  const ours = await majorOf(place);
  if (ours === found) return;
  throw new FarmError(
    'data-folder-version',
    `${place.data} was made by PostgreSQL ${found}, this version of Imp Gem brings PostgreSQL ${ours}. ` +
      `Nothing was changed. With the version of Imp Gem that made it run \`impgem backup FOLDER\`, then move the folder away ` +
      `and run \`impgem restore FOLDER\` with this version; or set DATABASE_URL to a PostgreSQL ${found} server that serves it.`,
  );
}

/** Makes the data folder under another name first: one that is there is whole. Returns the password. */
async function initialise(place: Omit<Place, 'password'>, say: Say): Promise<string> {
  const half = `${place.data}.new`;
  const file = path.join(place.folder, 'password');
  const password = randomBytes(24).toString('base64url');
  await rm(half, { recursive: true, force: true });
  await rm(file, { force: true });
  await writeFile(file, `${password}\n`, { mode: 0o600, flag: 'wx' });
  // It wants a user with a name, and only to be told it; what it has made goes to its own user.
  const maker = place.launch.owner === undefined ? undefined : NOBODY;
  await giveTo(maker, place.folder);
  await giveTo(maker, file);
  await mkdir(half, { mode: 0o700 });
  await giveTo(maker, half);
  const command = [
    place.binaries.initdb,
    `--pgdata=${half}`,
    `--username=${USER}`,
    '--auth=scram-sha-256',
    `--pwfile=${file}`,
    '--encoding=UTF8',
    '--no-locale',
    ...(place.settings.fsync === 'off' ? ['--no-sync'] : []),
  ];
  const { code, stderr } = await run(place, command, maker);
  if (code !== 0) {
    const advice = stderr.includes('could not look up effective user ID')
      ? ' (PostgreSQL wants an entry for it in /etc/passwd; add one, or set DATABASE_URL)'
      : '';
    throw new FarmError('postgres-failed', `initdb ended with ${code}: ${stderr.trim()}${advice}`);
  }
  await giveTo(maker === undefined ? undefined : 0, file);
  await giveAllTo(place.launch.owner, half);
  await rename(half, place.data);
  say('made a new database', { folder: place.data });
  return password;
}

/** The Postgres that runs on our data, if there is one. */
async function adopt(place: Place, say: Say): Promise<Server | undefined> {
  const file = path.join(place.data, 'postmaster.pid');
  const lines = (await readOr(file, '')).split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  if (!alive(pid) || !(await isPostgres(pid, place.data))) {
    // Postgres itself clears up after a dead one, and with the file's help makes sure that none of its children
    // still writes. But a number that belongs to another program by now, or to a zombie, keeps it from starting.
    if (hasProcess(pid)) {
      await childrenGone(place.data);
      await rm(file, { force: true });
    }
    return undefined;
  }
  const server = { pid, port: Number(lines[3]) };
  await answering(place, server, () => !alive(pid));
  if (!alive(pid)) return undefined;
  say('took over the running database', { ...server });
  return server;
}

/** After a crash the children of the old server take a moment to go. */
async function launchPatiently(place: Place, say: Say, keepPort?: number): Promise<Server> {
  const deadline = Date.now() + ORPHANS_MS;
  for (;;) {
    try {
      return await launch(place, say, keepPort);
    } catch (error) {
      if (!/shared memory block.*still in use/.test(String(error)) || Date.now() > deadline)
        throw error;
    }
    await sleep(200);
  }
}

async function launch(place: Place, say: Say, keepPort?: number): Promise<Server> {
  await giveTo(place.launch.owner, place.folder);
  await giveAllTo(place.launch.owner, place.data);
  const kept = keepPort ?? Number(await readOr(path.join(place.folder, 'port'), '0'));
  const port = keepPort ?? ((await isFree(kept)) ? kept : await freePort());
  const log = await open(path.join(place.folder, 'log'), 'a', 0o600);
  try {
    const settings = {
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      port: String(port),
      shared_buffers: '128MB',
      fsync: 'on',
      synchronous_commit: 'on',
      log_timezone: 'UTC',
      timezone: 'UTC',
      ...place.settings,
    };
    const child = spawnIn(
      place,
      [
        place.binaries.postgres,
        '-D',
        place.data,
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      { detached: true, stdio: ['ignore', log.fd, log.fd] },
    );
    let ended: string | undefined;
    child.once('error', (error) => (ended = error.message));
    child.once('exit', (code, name) => (ended = `it ended with ${code ?? name}`));
    child.unref();
    const server = { pid: child.pid ?? 0, port };
    await answering(place, server, () => ended !== undefined);
    if (ended !== undefined) throw await failure(place, ended);
    await writeFile(path.join(place.folder, 'port'), `${port}\n`, { mode: 0o600 });
    say('database started', { ...server });
    return server;
  } finally {
    await log.close();
  }
}

async function failure(place: Place, why: string): Promise<FarmError> {
  const file = path.join(place.folder, 'log');
  const tail = (await readOr(file, '')).trimEnd().split('\n').slice(-5).join('\n');
  return new FarmError(
    'postgres-failed',
    `PostgreSQL did not start (${why}); end of ${file}:\n${tail}`,
  );
}

/** Resolves when it takes connections, or when `gone`. */
async function answering(place: Place, server: Server, gone: () => boolean): Promise<void> {
  const deadline = Date.now() + START_DEADLINE_MS;
  for (;;) {
    if (gone()) return;
    try {
      const [row] = await ask(place, server.port, 'postgres', 'SHOW data_directory');
      if (row?.data_directory === place.data) return;
      throw new FarmError('postgres-failed', `port ${server.port} answers for another database`);
    } catch (error) {
      const { code } = error as { code?: string };
      // 57P03: it is still starting up, or replays its log.
      const notYet = code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === '57P03';
      if (!notYet || Date.now() > deadline) throw await failure(place, String(error));
    }
    await sleep(POLL_MS);
  }
}

async function createDatabase(place: Place, port: number): Promise<void> {
  const there = await ask(
    place,
    port,
    'postgres',
    `SELECT 1 FROM pg_database WHERE datname = '${DATABASE}'`,
  );
  if (there.length === 0) await ask(place, port, 'postgres', `CREATE DATABASE ${DATABASE}`);
}

async function hasOtherMasters(place: Place, port: number): Promise<boolean> {
  const others = `SELECT 1 FROM pg_stat_activity WHERE starts_with(application_name, '${APPLICATION}')
     AND application_name <> '${applicationName()}' LIMIT 1`;
  return ask(place, port, 'postgres', others).then(
    (rows) => rows.length > 0,
    () => false,
  );
}

/** E.g. `impgem-master-4711`. */
export function applicationName(): string {
  return `${APPLICATION}-${process.pid}`;
}

async function stop(pid: number): Promise<void> {
  // Fast shutdown: connections are cut, everything committed is on the disk.
  signal(pid, 'SIGINT');
  const deadline = Date.now() + STOP_DEADLINE_MS;
  while (alive(pid)) {
    if (Date.now() > deadline) {
      signal(pid, 'SIGQUIT');
      return;
    }
    await sleep(POLL_MS);
  }
}

function url(place: Place, port: number, database: string): string {
  return `postgres://${USER}:${place.password}@127.0.0.1:${port}/${database}`;
}

async function ask(
  place: Place,
  port: number,
  database: string,
  sql: string,
): Promise<Record<string, unknown>[]> {
  const client = new Client({
    connectionString: url(place, port, database),
    connectionTimeoutMillis: CONNECT_MS,
    application_name: applicationName(),
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function spawnIn(
  { launch }: Pick<Place, 'launch'>,
  command: string[],
  options: SpawnOptions,
  user = launch.owner,
) {
  const { prefix, ids } = user === undefined ? OURSELVES.as(0) : launch.as(user);
  const [program = '', ...args] = [...prefix, ...command];
  return spawn(program, args, {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    ...ids,
    ...options,
  });
}

async function run(
  place: Pick<Place, 'launch'>,
  command: string[],
  user?: number,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawnIn(place, command, { stdio: ['ignore', 'pipe', 'pipe'] }, user);
  const text = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => (text.stdout += piece));
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => (text.stderr += piece));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).catch((cause: unknown) => {
    throw new FarmError(
      'postgres-failed',
      `cannot run ${command[0]}: ${String(cause)}`,
      {},
      { cause },
    );
  });
  return { code, ...text };
}

async function isFree(port: number): Promise<boolean> {
  if (!port) return false;
  return listenOn(port).then(
    () => true,
    () => false,
  );
}

const freePort = () => listenOn(0);

function listenOn(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : port));
    });
  });
}
