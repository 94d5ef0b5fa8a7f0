import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Client } from 'pg';
import { patient } from '@impgem/testkit';
import { Database } from './database.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from './embedded-postgres.js';
import { findBinaries, POSTGRES_USER } from './postgres-binaries.js';
import { alive } from './processes.js';

// One folder for all: making a database takes seconds, and each test leaves a stopped one behind.
let folder: string;
const started: EmbeddedPostgres[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'impgem-embedded-'));
  await chmod(folder, 0o711);
});
afterEach(async () => {
  for (const postgres of started.splice(0)) await postgres.stop();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function start(): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ folder: path.join(folder, 'postgres') });
  started.push(postgres);
  return postgres;
}

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new Client(url);
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return Object.values(rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

describe('the embedded database', () => {
  it('is made once, asks for its password, and is gone after the stop', async () => {
    const first = await start();
    expect(await ask(first.url, 'SHOW fsync')).toBe('on');
    expect(await ask(first.url, 'SHOW synchronous_commit')).toBe('on');
    const { mode } = await stat(path.join(folder, 'postgres', 'password'));
    expect(mode & 0o777).toBe(0o600);
    const stranger = new URL(first.url);
    stranger.password = 'wrong';
    await expect(ask(stranger.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    await ask(first.url, 'CREATE TABLE kept (n int)');
    expect(await first.stop()).toBe(true);
    expect(alive(first.pid)).toBe(false);

    const second = await start();
    expect(second.port).toBe(first.port);
    expect(await ask(second.url, 'SELECT count(*) FROM kept')).toBe('0');
  });

  it('is adopted when it runs already', async () => {
    const first = await start();
    const second = await start();
    expect(second.pid).toBe(first.pid);
    expect(second.url).toBe(first.url);
  });

  it('starts again after it was killed', async () => {
    const postgres = await start();
    await ask(postgres.url, 'CREATE TABLE saved AS SELECT 1 AS n');
    const { pid, port } = postgres;
    process.kill(pid, 'SIGKILL');
    while (alive(pid)) await new Promise(setImmediate);
    expect(postgres.isRunning()).toBe(false);
    await postgres.revive();
    expect(postgres.pid).not.toBe(pid);
    expect(postgres.port).toBe(port);
    expect(await ask(postgres.url, 'SELECT n FROM saved')).toBe(1);
  });

  it('is away for those who ask while it hangs, and there again when it goes on', async () => {
    const postgres = await start();
    const database = new Database({ url: postgres.url, poolSize: 1, patienceMs: patient(500) });
    try {
      const pid = async () => {
        const [row] = await database.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
        return row?.pid ?? 0;
      };
      for (const ask of [
        () => database.query('SELECT 1'),
        () => database.transaction((tx) => tx.query('SELECT 1')),
      ]) {
        const frozen = await pid();
        process.kill(frozen, 'SIGSTOP');
        try {
          await expect(ask()).rejects.toMatchObject({ code: 'database-unavailable' });
          expect(database.status()).toBe('down');
          // On another connection, since that one is given up.
          expect(await pid()).not.toBe(frozen);
          expect(database.status()).toBe('up');
        } finally {
          process.kill(frozen, 'SIGCONT');
        }
      }
    } finally {
      await database.close();
    }
  });

  it('starts although its old number belongs to another program', async () => {
    const postgres = await start();
    const file = path.join(folder, 'postgres', 'data', 'postmaster.pid');
    const lines = (await readFile(file, 'utf8')).split('\n');
    await postgres.stop();
    lines[0] = String(process.pid);
    await writeFile(file, lines.join('\n'));
    expect((await start()).pid).not.toBe(process.pid);
  });

  it('takes another port when its own is in use', async () => {
    const first = await start();
    await first.stop();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(first.port, '127.0.0.1', resolve));
    try {
      expect((await start()).port).not.toBe(first.port);
    } finally {
      taken.close();
    }
  });

  it("belongs to a user of its own, also where it was nobody's", async () => {
    const { stop } = await start();
    const data = path.join(folder, 'postgres', 'data');
    const mine = process.getuid?.() ?? 0;
    const own = mine === 0 ? POSTGRES_USER : mine;
    expect((await stat(data)).uid).toBe(own);
    expect((await stat(path.join(folder, 'postgres', 'password'))).uid).toBe(mine);
    await stop();
    // As older versions left it, and as one that was interrupted while it gave the files away.
    if (mine === 0)
      for (const name of ['PG_VERSION', 'base/1', '.'])
        await chown(path.join(data, name), 65_534, 65_534);
    const postgres = await start();
    expect(await ask(postgres.url, 'SELECT 1')).toBe(1);
    const owners = await Promise.all(
      (await readdir(data, { recursive: true })).map(async (name) =>
        lstat(path.join(data, name)).then(
          ({ uid }) => uid,
          // It removes files all the time.
          () => own,
        ),
      ),
    );
    expect([...new Set(owners)]).toEqual([own]);
    expect((await stat(`/proc/${postgres.pid}`)).uid).toBe(own);
  });

  it('works, programs and all, deep below a folder that its user may not enter', async () => {
    const { initdb } = await findBinaries();
    const closed = path.join(folder, 'of root', 'x'.repeat(150));
    await mkdir(closed, { recursive: true });
    await cp(path.dirname(path.dirname(initdb)), path.join(closed, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
    });
    const bin = path.join(closed, 'native', 'bin');
    const binaries = { initdb: path.join(bin, 'initdb'), postgres: path.join(bin, 'postgres') };
    // As packages are unpacked with a umask of 077.
    for (const file of [bin, ...Object.values(binaries)]) await chmod(file, 0o700);
    await chmod(path.join(folder, 'of root'), 0o700);
    const postgres = await startEmbeddedPostgres({
      folder: path.join(closed, 'farm', 'postgres'),
      binaries,
      settings: { fsync: 'off' },
    });
    started.push(postgres);
    expect(await ask(postgres.url, 'SELECT 1')).toBe(1);
    const modes = [path.join(folder, 'of root'), bin].map(async (name) => (await stat(name)).mode);
    expect((await Promise.all(modes)).map((mode) => mode & 0o777)).toEqual([0o700, 0o700]);
  });

  it('refuses the data of another major, says which command helps, and leaves it alone', async () => {
    const postgres = await start();
    await postgres.stop();
    const file = path.join(folder, 'postgres', 'data', 'PG_VERSION');
    await writeFile(file, '15\n');
    const refused = await start().catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'data-folder-version',
      message: expect.stringMatching(/PostgreSQL 15.*impgem backup.*impgem restore.*DATABASE_URL/s),
    });
    expect(await readFile(file, 'utf8')).toBe('15\n');
  });
});
