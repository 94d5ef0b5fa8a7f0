import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startMaster, type Master } from '../../master.js';
import { readConfig, setLogLevel, withConfig } from '../index.js';

const run = promisify(execFile);
// Only root may mount.
const asRoot = process.getuid?.() === 0 ? describe : describe.skip;

asRoot('a master whose disk, with its embedded database, is full', () => {
  let dataDir: string;
  let master: Master | undefined;
  let token: string;

  beforeAll(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'impgem-full-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=160m,mode=711', 'tmpfs', dataDir]);
    setLogLevel('silent');
    master = await startMaster(withConfig(readConfig({ IMPGEM_PORT: '0' }), { dataDir }));
    token = (await readFile(path.join(dataDir, 'admin-token'), 'utf8')).trim();
  });
  afterAll(async () => {
    await master?.stop();
    setLogLevel('error');
    await run('umount', [dataDir]);
    await rm(dataDir, { recursive: true });
  });

  const database = () => {
    if (!master) throw new Error('the master did not start');
    return master.database;
  };
  const make = async (name: string): Promise<{ status: number; code?: string }> => {
    const answer = await fetch(`${master?.url}/api/v1/tokens`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name, scopes: ['read'] }),
    });
    const { code } = (await answer.json()) as { code?: string };
    return { status: answer.status, ...(code === undefined ? {} : { code }) };
  };
  const ready = async () => {
    const answer = await fetch(`${master?.url}/health/ready`);
    const { problems } = (await answer.json()) as { problems: string[] };
    return { status: answer.status, problems };
  };

  it('refuses with a code, says why, and goes on by itself when there is room', async () => {
    expect(await make('before')).toEqual({ status: 201 });
    await fill(path.join(dataDir, 'ballast'));
    // Postgres writes for a while into what it has.
    let refused = await make('full');
    for (let n = 0; refused.status === 201; n++) {
      await database()
        .query(`SELECT pg_switch_wal()`)
        .catch(() => undefined);
      refused = await make(`full-${n}`);
    }
    expect([503, 507]).toContain(refused.status);
    expect(['database-unavailable', 'database-full']).toContain(refused.code);
    expect((await ready()).problems).toContain(
      'the disk of the data folder is full: make room there',
    );
    await rm(path.join(dataDir, 'ballast'));
    for (;;) {
      const { status, problems } = await ready();
      if (status === 200 && !problems.some((text) => text.includes('is full'))) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await make('after')).toEqual({ status: 201 });
    const names = await database().query<{ name: string }>(
      `SELECT name FROM api_tokens WHERE name IN ('before', 'after') ORDER BY name`,
    );
    expect(names).toEqual([{ name: 'after' }, { name: 'before' }]);
  });
});

/** The database writes too meanwhile: how much is free is known when nothing is. */
async function fill(file: string): Promise<void> {
  const block = Buffer.alloc(64 * 1024);
  try {
    for (;;) await appendFile(file, block);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  }
}
