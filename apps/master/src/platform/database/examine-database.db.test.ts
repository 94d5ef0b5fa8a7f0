import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testDatabase } from '@impgem/testkit';
import { Client } from 'pg';
import { readConfig, withConfig } from '../config.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { examineDatabase } from './examine-database.js';

const found = async (settings: Parameters<typeof withConfig>[1]) =>
  (await examineDatabase(withConfig(readConfig({}), { minFreeBytes: 0, ...settings }))).map(
    ({ status, text, mend }) => `${status} ${text}${mend === undefined ? '' : ` → ${mend}`}`,
  );

describe('a database of its own', () => {
  it('is well, behind, or ahead of this version', async () => {
    const test = await testDatabase();
    const client = new Client(test.url);
    await client.connect();
    const url = { databaseUrl: test.url };
    try {
      expect(await found(url)).toEqual([
        expect.stringMatching(/^ok .*answers: PostgreSQL \d+/),
        "ok its schema is this version's",
      ]);
      const last = 'DELETE FROM migrations WHERE id = (SELECT max(id) FROM migrations)';
      await client.query(last);
      expect((await found(url))[1]).toMatch(/^warn 1 migrations are pending.*impgem backup/);
      await client.query(`INSERT INTO migrations (timestamp, name) VALUES (9, 'Later9')`);
      expect((await found(url))[1]).toMatch(/^fail .*newer.*Later9.*restore a backup/);
    } finally {
      await client.end();
      await test.drop();
    }
  });

  it('is empty, does not want us, or is not there', async () => {
    const test = await testDatabase({ empty: true });
    try {
      expect((await found({ databaseUrl: test.url }))[1]).toMatch(/^warn it is empty/);
      const url = new URL(test.url);
      url.password = 'wrong';
      expect(await found({ databaseUrl: url.href })).toEqual([
        expect.stringMatching(/^fail .*does not let us in.*password.*DATABASE_URL/),
      ]);
    } finally {
      await test.drop();
    }
    expect(await found({ databaseUrl: 'postgres://a@127.0.0.1:1/a' })).toEqual([
      expect.stringMatching(/^fail .*ECONNREFUSED/),
    ]);
  });
});

describe('the embedded one', () => {
  let dataDir: string;
  beforeAll(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'impgem-examine-'));
    await chmod(dataDir, 0o711);
  });
  afterAll(() => rm(dataDir, { recursive: true, force: true }));

  it('is not made yet, runs, rests, or is of another major; nothing is changed by looking', async () => {
    expect(await found({ dataDir })).toEqual([expect.stringMatching(/^warn there is no database/)]);
    const folder = path.join(dataDir, 'postgres');
    const postgres = await startEmbeddedPostgres({ folder, settings: { fsync: 'off' } });
    try {
      expect(await found({ dataDir })).toEqual([
        expect.stringMatching(/^ok the embedded database.*answers: PostgreSQL/),
        expect.stringMatching(/^warn it is empty/),
      ]);
    } finally {
      await postgres.stop();
    }
    expect(await found({ dataDir })).toEqual([
      expect.stringMatching(/^warn .*does not run.*impgem up/),
    ]);
    await writeFile(path.join(folder, 'data', 'PG_VERSION'), '15\n');
    expect(await found({ dataDir })).toEqual([
      expect.stringMatching(/^fail .*made by PostgreSQL 15.*impgem backup.*impgem restore/),
    ]);
  });
});
