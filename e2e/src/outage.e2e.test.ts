import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Page, Worker } from '@impgem/client';
import { eventually, testDatabase, type TestDatabase } from '@impgem/testkit';
import { Refused, startFarm, type Farm } from './farm.js';
import { Program, ROOT } from './program.js';

const COUNT = `
builders:
  count:
    steps:
      - name: count
        run: i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo $i; sleep 0.2; done
`;
const COUNTED = Array.from({ length: 40 }, (_, n) => `${n + 1}\n`).join('');

async function worker(farm: Farm): Promise<Worker | undefined> {
  return (await farm.api<Page<Worker>>('GET', '/workers')).items[0];
}

/** When the worker has connected: the same as long as its socket is. */
async function connection(farm: Farm): Promise<string | null | undefined> {
  return (await worker(farm))?.connectedAt;
}

describe('while its database is away', () => {
  let database: TestDatabase;
  let farm: Farm | undefined;

  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(async () => {
    await farm?.stop();
    await database?.drop();
  });

  it('a master without its database says what is wrong and where', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'impgem-e2e-'));
    const master = new Program('master', [process.execPath, `${ROOT}/apps/master/bundle/main.js`], {
      DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:9/none',
      IMPGEM_PORT: '0',
      IMPGEM_DATA: dir,
    });
    try {
      const line = await master.line(
        (text) => /database/i.test(text) && text.includes('127.0.0.1'),
      );
      expect(line).not.toContain('secret');
    } finally {
      await master.stop();
      await rm(dir, { recursive: true, force: true });
    }
  });

  it('a build goes on while the database is away, and its log is whole', async () => {
    farm = await startFarm({ executor: 'host', masterEnv: { DATABASE_URL: database.url } });
    await farm.apply(COUNT);
    const request = await farm.request('count');
    const running = await farm.untilBuild(request.id, ['running']);
    const connectedAt = await connection(farm);
    const restore = await database.cutOff();
    try {
      const ready = new URL('/health/ready', farm.url);
      await eventually(async () => (await fetch(ready)).status === 503, { what: 'not ready' });
      const refused = await farm.request('count').catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(Refused);
      expect(refused).toMatchObject({ status: 503, body: { code: 'database-unavailable' } });
    } finally {
      await restore();
    }
    const build = await farm.untilBuild(request.id);
    expect(await connection(farm)).toBe(connectedAt);
    expect(build).toMatchObject({ id: running.id, result: 'success', attempt: 1 });
    expect((await farm.log(build.id, 0, '?stream=stdout')).toString()).toBe(COUNTED);
  });
});

describe('when a process of the master dies', () => {
  let farm: Farm;
  beforeAll(async () => {
    farm = await startFarm({ executor: 'host', embedded: true });
    await farm.apply(COUNT);
  });
  afterAll(() => farm?.stop());

  it.each(['SIGKILL', 'SIGINT'] as const)(
    'a build goes on, be it that its database gets %s',
    async (signal) => {
      const request = await farm.request('count');
      await farm.untilBuild(request.id, ['running']);
      const connectedAt = await connection(farm);
      const file = join(farm.dataDir, 'master/postgres/data/postmaster.pid');
      const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
      const starts = () => farm.master.output.split('"msg":"database started"').length;
      const before = starts();
      process.kill(pid, signal);
      await eventually(() => starts() > before, { what: 'the database started again' });
      const build = await farm.untilBuild(request.id);
      expect(build).toMatchObject({ result: 'success', attempt: 1 });
      expect((await farm.log(build.id, 0, '?stream=stdout')).toString()).toBe(COUNTED);
      expect(await connection(farm)).toBe(connectedAt);
    },
  );

  it('a build goes on, be it the master itself', async () => {
    const request = await farm.request('count');
    await farm.untilBuild(request.id, ['running']);
    farm.master.kill('SIGKILL');
    await farm.master.exited;
    await farm.startMaster();
    // its first heartbeat tells what it brings home
    await eventually(async () => ((await worker(farm))?.spooled ?? 0) > 0, {
      what: 'the worker has output to send',
    });
    const build = await farm.untilBuild(request.id);
    expect(build).toMatchObject({ result: 'success', attempt: 1 });
    expect((await farm.log(build.id, 0, '?stream=stdout')).toString()).toBe(COUNTED);
  });
});
