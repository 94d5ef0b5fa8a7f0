import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { Database } from '../database/database.js';
import { backup, restore } from './backup.js';

let folder: string;
let file: string;
let source: TestDatabase;
let from: Database;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'impgem-backup-'));
  file = path.join(folder, 'farm.backup');
  source = await testDatabase();
  from = new Database({ url: source.url });
  await from.query(
    `INSERT INTO api_tokens (id, name, scopes, secret_hash, created_by)
     SELECT 't' || n, E'name\\u2028' || n, '{read,admin}', sha256(n::text::bytea), 'line\nbreak'
     FROM generate_series(1, 250) n`,
  );
  await from.query(
    `INSERT INTO farm_versions (source, sha256, applied_by, builders) VALUES ('a: 1', 'x', 'me', '{b}')`,
  );
  await from.query(
    `INSERT INTO builders (name, definition, farm_version, position) VALUES ('b', '{"a":[1]}', 1, 0)`,
  );
  await from.query(`INSERT INTO events (kind, builder) VALUES ('farm.applied', 'b')`);
  await from.query(
    `INSERT INTO log_chunks VALUES (1, 0, 0, 1, 1, 3, 0, now(), 4294967295, '\\x00ff0a')`,
  );
});
afterAll(async () => {
  await from.close();
  await source.drop();
  await rm(folder, { recursive: true, force: true });
});

it('refuses a database without a farm, and says which one to name', async () => {
  const empty = await testDatabase({ empty: true });
  await expect(backup(empty.url, path.join(folder, 'none'))).rejects.toMatchObject({
    code: 'empty-database',
    message: expect.stringContaining('IMPGEM_DATA'),
  });
  await empty.drop();
});

const CONTENT = [
  'SELECT * FROM api_tokens ORDER BY id',
  'SELECT * FROM farm',
  'SELECT * FROM builders',
  'SELECT * FROM log_chunks',
];

async function into<T>(run: (target: TestDatabase, to: Database) => Promise<T>): Promise<T> {
  const target = await testDatabase({ empty: true });
  const to = new Database({ url: target.url });
  try {
    return await run(target, to);
  } finally {
    await to.close();
    await target.drop();
  }
}

describe('a backup', () => {
  it('brings everything into another server, and numbers go on', async () => {
    const rows = await backup(source.url, file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await into(async (target, to) => {
      expect(await restore(target.url, file)).toBe(rows);
      for (const sql of CONTENT) expect(await to.query(sql)).toEqual(await from.query(sql));
      const [next] = await to.query(
        `INSERT INTO farm_versions (source, sha256, applied_by, builders) VALUES ('', '', '', '{}') RETURNING version`,
      );
      expect(next).toEqual({ version: 2 });
      // Readers of the outbox see what was restored.
      const visible = `SELECT kind FROM events WHERE xid < pg_snapshot_xmin(pg_current_snapshot())`;
      expect(await to.query(visible)).toEqual([{ kind: 'farm.applied' }]);
    });
  });

  it('goes into an empty database only', async () => {
    await expect(restore(source.url, file)).rejects.toMatchObject({ code: 'database-not-empty' });
  });

  it('that is half, of a newer version, or something else is refused before anything changes', async () => {
    const text = gunzipSync(await readFile(file)).toString();
    const bad = path.join(folder, 'bad');
    const attempt = async (bytes: Buffer) => {
      await writeFile(bad, bytes);
      return into(async (target, to) => {
        const error = await restore(target.url, bad).catch((thrown: unknown) => thrown);
        expect(await to.query(`SELECT to_regclass('farm') farm`)).toEqual([{ farm: null }]);
        return (error as { code?: string }).code;
      });
    };
    const whole = await readFile(file);
    expect(await attempt(whole.subarray(0, whole.length / 2))).toBe('backup-broken');
    const lines = text.trimEnd().split('\n');
    expect(await attempt(gzipSync(lines.slice(0, -1).join('\n')))).toBe('backup-broken');
    expect(await attempt(Buffer.from('hello'))).toBe('backup-broken');
    const newer = text.replace('"migrations":[', '"migrations":["Later9",');
    expect(await attempt(gzipSync(newer))).toBe('database-newer');
  });
});
