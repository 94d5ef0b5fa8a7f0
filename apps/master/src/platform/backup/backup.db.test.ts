import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { SeededBuild, WORKER } from '../../builds/testing.js';
import { Database } from '../database/database.js';
import { BlobStore } from '../storage/blobs.js';
import { backup, restore } from './backup.js';

/** Of an artifact, and of a long log. */
const CONTENTS = ['an artifact', 'a long log'] as const;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

let folder: string;
let target: string;
let file: string;
/** Of the farm that is backed up. */
let blobs: string;
let source: TestDatabase;
let from: Database;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'impgem-backup-'));
  target = path.join(folder, 'backup');
  file = path.join(target, 'database.gz');
  blobs = path.join(folder, 'blobs');
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
    `WITH b AS (
       INSERT INTO builders (name, definition, farm_version, position) VALUES ('b', '{"a":[1]}', 1, 0) RETURNING *)
     INSERT INTO builder_versions SELECT id, farm_version, definition FROM b`,
  );
  await from.query(`INSERT INTO events (kind, builder) VALUES ('farm.applied', 'b')`);
  await from.query(`INSERT INTO requirement_groups (labels) VALUES ('{}')`);
  await from.query(`INSERT INTO workers (id, name, secret_hash) VALUES ($1, $2, '')`, [
    WORKER.id,
    WORKER.name,
  ]);
  const { id } = await SeededBuild.begin(from);
  const [artifact, log] = CONTENTS;
  await from.query(
    `INSERT INTO artifacts (build_id, number, path, size, sha256, mode)
     SELECT $1, n, 'f' || n, 11, $2, 420 FROM generate_series(0, 1) n`,
    [id, sha256(artifact)],
  );
  await from.query('INSERT INTO sealed_logs (build_id, step, blob, size) VALUES ($1, 0, $2, 10)', [
    id,
    sha256(log),
  ]);
  // A small one is a row, and no file.
  await from.query(
    `INSERT INTO artifacts (build_id, number, path, size, sha256, mode) VALUES ($1, 2, 'small', 5, $2, 420)`,
    [id, sha256('small')],
  );
  await from.query(`INSERT INTO small_blobs VALUES ($1, 'small')`, [sha256('small')]);
  for (const content of CONTENTS) await put(content);
  await from.query(
    `INSERT INTO log_chunks VALUES (1, 0, 0, 1, 1, 3, 0, now(), 4294967295, '\\x00ff0a')`,
  );
});
async function put(content: string): Promise<void> {
  await mkdir(blobs, { recursive: true });
  const half = path.join(blobs, 'half');
  await writeFile(half, content);
  await new BlobStore(blobs).adopt(half, sha256(content));
}
afterAll(async () => {
  await from.close();
  await source.drop();
  await rm(folder, { recursive: true, force: true });
});

it('refuses a database without a farm, and says which one to name', async () => {
  const empty = await testDatabase({ empty: true });
  await expect(backup({ url: empty.url, blobs }, path.join(folder, 'none'))).rejects.toMatchObject({
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
  'SELECT * FROM small_blobs',
];

async function into<T>(run: (empty: TestDatabase, to: Database) => Promise<T>): Promise<T> {
  const empty = await testDatabase({ empty: true });
  const to = new Database({ url: empty.url });
  try {
    return await run(empty, to);
  } finally {
    await to.close();
    await empty.drop();
  }
}

describe('a backup', () => {
  it('brings everything into another server, and numbers go on', async () => {
    const { rows, copied, lost } = await backup({ url: source.url, blobs }, target);
    expect({ copied, lost }).toEqual({ copied: 2, lost: [] });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await into(async (empty, to) => {
      const restored = path.join(folder, 'restored');
      const done = await restore({ url: empty.url, blobs: restored }, target);
      expect(done).toEqual({ rows, copied: 2, kept: 0, lost: [] });
      for (const content of CONTENTS)
        expect(await readFile(new BlobStore(restored).path(sha256(content)), 'utf8')).toBe(content);
      expect((await readdir(restored)).filter((name) => name.length > 2)).toEqual([]);
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

  it('copies into the same folder only what is new, and tells what is lost or damaged', async () => {
    await put('a new artifact');
    const [{ build_id: build }] = (await from.query<{ build_id: number }>(
      'SELECT build_id FROM artifacts LIMIT 1',
    )) as [{ build_id: number }];
    const add = (number: number, content: string) =>
      from.query(
        `INSERT INTO artifacts (build_id, number, path, size, sha256, mode) VALUES ($1, $2, $3, 1, $4, 420)`,
        [build, number, `g${number}`, sha256(content)],
      );
    await add(3, 'a new artifact');
    await add(4, 'never stored');
    await put('whole');
    await writeFile(new BlobStore(blobs).path(sha256('whole')), 'damaged');
    await add(5, 'whole');
    const again = await backup({ url: source.url, blobs }, target);
    expect(again).toMatchObject({ copied: 1, kept: 2 });
    expect([...again.lost].sort()).toEqual([sha256('never stored'), sha256('whole')].sort());
    // All else can be had back.
    await into(async (empty, to) => {
      const restored = path.join(folder, 'most');
      const done = await restore({ url: empty.url, blobs: restored }, target);
      expect(done).toMatchObject({ copied: 3, kept: 0 });
      expect(done.lost).toHaveLength(2);
      expect(await to.query('SELECT count(*) n FROM artifacts')).toEqual([{ n: 6 }]);
    });
  });

  it('goes into an empty database only', async () => {
    await expect(restore({ url: source.url, blobs }, target)).rejects.toMatchObject({
      code: 'database-not-empty',
    });
  });

  it('that is half, of a newer version, or something else is refused before anything changes', async () => {
    const text = gunzipSync(await readFile(file)).toString();
    const bad = path.join(folder, 'bad');
    await mkdir(bad);
    const attempt = async (bytes: Buffer) => {
      await writeFile(path.join(bad, 'database.gz'), bytes);
      return into(async (empty, to) => {
        const error = await restore({ url: empty.url, blobs }, bad).catch(
          (thrown: unknown) => thrown,
        );
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
