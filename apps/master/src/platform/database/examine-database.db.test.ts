import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { FarmError } from '@impgem/kit';
import { patient, testDatabase, testServer } from '@impgem/testkit';
import { Client } from 'pg';
import { readConfig, withConfig } from '../config.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { examineDatabase } from './examine-database.js';
import { TransactionPooler } from './transaction-pooler.js';
import { waitForDatabase } from './wait-for-database.js';

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

/** A database made so, and what a master's start says of it. */
const refusal = async (create: string, settings: string[] = [], as?: string) => {
  const name = `unfit_${randomBytes(6).toString('hex')}`;
  const admin = new Client(testServer());
  await admin.connect();
  const url = new URL(testServer());
  url.pathname = `/${name}`;
  if (as) Object.assign(url, { username: as, password: as });
  try {
    await admin.query(`CREATE DATABASE ${name} TEMPLATE template0 ${create}`);
    for (const setting of settings) await admin.query(setting.replaceAll('NAME', name));
    const start = waitForDatabase(url.href, AbortSignal.timeout(patient(60_000)));
    const said = await start.then(
      () => 'fit',
      (error: FarmError) => `${error.code}: ${error.message}`,
    );
    const all = await found({ databaseUrl: url.href });
    return { said, doctor: all.filter((line) => line.startsWith('fail')).join('\n') };
  } finally {
    await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    await admin.end();
  }
};

describe('a database that cannot carry a farm', () => {
  it.each<[string, string, string[], RegExp]>([
    ['of another encoding', "ENCODING 'LATIN1' LOCALE 'C'", [], /encoding is LATIN1.*\n?.*UTF8/],
    [
      'that is read-only',
      '',
      ['ALTER DATABASE NAME SET default_transaction_read_only = on'],
      /read-only for us/,
    ],
    [
      'with old escapes',
      '',
      ['ALTER DATABASE NAME SET standard_conforming_strings = off'],
      /standard_conforming_strings is off/,
    ],
    [
      'without a schema for us',
      '',
      ["ALTER DATABASE NAME SET search_path = 'nowhere'"],
      /no schema for our tables/,
    ],
  ])('is refused at the start and by the doctor: one %s', async (_, create, settings, why) => {
    const { said, doctor } = await refusal(create, settings);
    expect(said).toMatch(why);
    expect(said).toMatch(/^database-refused: the database cannot carry a farm/);
    expect(doctor).toMatch(why);
  });

  it('is refused when its user may make nothing in it', async () => {
    const admin = new Client(testServer());
    await admin.connect();
    const user = `guest_${randomBytes(6).toString('hex')}`;
    await admin.query(`CREATE ROLE ${user} LOGIN PASSWORD '${user}'`);
    try {
      const { said, doctor } = await refusal('', [], user);
      expect(said).toMatch(/may not make tables in its schema public.*\n.*GRANT CREATE/);
      expect(doctor).toMatch(/may not make tables/);
    } finally {
      await admin.query(`DROP ROLE ${user}`);
      await admin.end();
    }
  });

  it.each([1, 3])(
    'is refused behind a pooler of %i sessions that transactions share',
    async (size) => {
      const test = await testDatabase();
      const pooler = await TransactionPooler.start(test.url, size);
      const url = new URL(test.url);
      url.port = String(pooler.port);
      try {
        await expect(
          waitForDatabase(url.href, AbortSignal.timeout(patient(60_000))),
        ).rejects.toMatchObject({
          code: 'database-refused',
          message: expect.stringMatching(/pooler .*shares sessions.*\n.*pool_mode = session/),
        });
      } finally {
        await pooler.stop();
        await test.drop();
      }
    },
  );

  it('is taken when all is well', async () => {
    expect(await refusal('')).toEqual({ said: 'fit', doctor: '' });
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
