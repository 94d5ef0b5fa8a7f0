import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { STREAMS, type StreamName } from '@impgem/protocol';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import { Events } from '../events/index.js';
import { Database, readConfig, withConfig } from '../platform/index.js';
import { inflate } from './chunk.js';
import { Logs } from './logs.js';
import { Partitions } from './partitions.js';
import { Sealer } from './sealer.js';
import { gzippedLog, plainLog } from './serve-log.js';

let test: TestDatabase;
let db: Database;
let dataDir: string;
let logs: Logs;

const config = (folder: string) => withConfig(readConfig({}), { dataDir: folder });
const sealerIn = (folder: string) =>
  new Sealer(db, new Events(db), new Partitions(db), config(folder));

beforeAll(async () => {
  test = await testDatabase();
  db = new Database({ url: test.url });
  dataDir = await mkdtemp(join(tmpdir(), 'impgem-sealer-'));
  logs = new Logs(db, config(dataDir));
  await seedFarm(db);
});
afterAll(async () => {
  await db.close();
  await test.drop();
  await rm(dataDir, { recursive: true, force: true });
});

// A test that failed shall not keep the next one from sealing.
beforeEach(() => db.query(`UPDATE log_sealing SET held_until = '-infinity'`));

/** Transactions of other databases of the server hold back readers of the outbox, too. */
async function allEventsReadable(): Promise<void> {
  for (;;) {
    const held = await db.query(
      'SELECT 1 FROM events WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) LIMIT 1',
    );
    if (held.length === 0) return;
    await sleep(10);
  }
}

/** Seals what can be sealed; `pass` is for one master, and this one has stopped afterwards. */
async function sealAll(): Promise<void> {
  await allEventsReadable();
  const sealer = sealerIn(dataDir);
  expect(await sealer.pass()).toBe(true);
  await sealer.beforeApplicationShutdown();
}

/** What a master does besides: partitions made and dropped. */
async function tidy(): Promise<void> {
  const sealer = sealerIn(dataDir);
  await sealer.tidy();
  await sealer.beforeApplicationShutdown();
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

/** A finished build whose log has these chunks. */
async function built(chunks: [StreamName, Buffer][]): Promise<{ id: number; whole: Buffer }> {
  const build = await SeededBuild.begin(db);
  await build.log(...chunks);
  await build.finish();
  return { id: build.id, whole: Buffer.concat(chunks.map(([, bytes]) => bytes)) };
}

/** Chunks of text with every stream; random ones do not get smaller. */
const chunksOf = (count: number, size: number, random = false): [StreamName, Buffer][] =>
  Array.from({ length: count }, (_, n) => [
    STREAMS[n % 3] ?? 'stdout',
    random
      ? randomBytes(size)
      : Buffer.from(`${n} äö\n${'x'.repeat(size)}${n % 4 === 0 ? '' : '\n'}`),
  ]);

const sealedRow = async (build: number) =>
  (
    await db.query<{ blob: string | null; size: number; data: Buffer | null }>(
      'SELECT blob, size, data FROM sealed_logs WHERE build_id = $1',
      [build],
    )
  )[0];

const sum = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** Everything that reading a log can give. */
async function readings(build: number) {
  const log = { build, step: 0 };
  const state = await logs.state(log);
  const { bytes, lines } = state;
  const [page] = await logs.read([{ ...log, offset: Math.floor(bytes / 2) }]);
  const starts: number[] = [];
  for (let line = 0; line <= lines + 1; line += Math.max(1, Math.floor(lines / 40)))
    starts.push(await logs.lineStart(log, state, line));
  return {
    state,
    starts,
    count: await logs.lineCount(log, state),
    plain: sum(await collect(plainLog(logs, log, { from: 0, to: bytes }))),
    part: sum(await collect(plainLog(logs, log, { from: 5, to: bytes - 7 }))),
    stderr: sum(await collect(plainLog(logs, log, { from: 0, to: bytes, stream: 'stderr' }))),
    gzip: sum(gunzipSync(await collect(gzippedLog(logs, log, bytes)))),
    page: page?.chunks.map((chunk) => ({ ...chunk, data: sum(inflate(chunk)) })),
    more: page?.more,
    tails: [...(await logs.tails(log, bytes - 3))]
      .map(([stream, tail]) => [stream, tail.subarray(-3).toString('hex')] as const)
      .sort(),
  };
}

/** As if the day were over: all partitions are of days gone by, and a new one takes what comes. */
async function dayGoesBy(): Promise<void> {
  await db.transaction(async (tx) => {
    const parts = await tx.query<{ name: string }>(
      `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'log_chunks'::regclass`,
    );
    for (const { name } of parts) {
      const rows = await tx.query(`SELECT 1 FROM ${name} LIMIT 1`);
      await tx.query(`ALTER TABLE log_chunks DETACH PARTITION ${name}`);
      if (rows.length === 0) await tx.query(`DROP TABLE ${name}`);
      else {
        await tx.query(`UPDATE ${name} SET day = '2020-01-01'`);
        await tx.query(`ALTER TABLE ${name} RENAME TO log_chunks_20200101`);
        await tx.query(
          `ALTER TABLE log_chunks ATTACH PARTITION log_chunks_20200101 FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')`,
        );
      }
    }
  });
  await new Partitions(db).prepare();
}
const oldPartitions = () =>
  db.query(`SELECT 1 FROM pg_class WHERE relname = 'log_chunks_20200101' AND relispartition`);

describe('sealing', () => {
  it('keeps each reading of a log the same, small or large, with its rows or without', async () => {
    const small = await built(chunksOf(9, 50));
    const large = await built(chunksOf(60, 4000, true));
    const silent = await built([]);
    const before = await Promise.all([readings(small.id), readings(large.id)]);
    expect(before.map(({ plain }) => plain)).toEqual([small, large].map(({ whole }) => sum(whole)));
    await sealAll();
    expect(await sealedRow(small.id)).toMatchObject({ blob: null, data: expect.anything() });
    expect(await sealedRow(large.id)).toMatchObject({ data: null });
    expect(await sealedRow(silent.id)).toBeUndefined();
    expect(await Promise.all([readings(small.id), readings(large.id)])).toEqual(before);

    await dayGoesBy();
    await tidy();
    expect(await oldPartitions()).toEqual([]);
    expect(await db.query('SELECT 1 FROM log_chunks')).toEqual([]);
    expect(await Promise.all([readings(small.id), readings(large.id)])).toEqual(before);
  });

  it('makes a file that gunzip takes for the log', async () => {
    const { id, whole } = await built(chunksOf(40, 3000, true));
    await sealAll();
    const { blob, size } = (await sealedRow(id)) ?? {};
    const bytes = await readFile(join(dataDir, 'blobs', blob?.slice(0, 2) ?? '', blob ?? ''));
    expect(bytes.length).toBe(size);
    // What follows the stream is ignored.
    expect(gunzipSync(bytes).equals(whole)).toBe(true);
    expect(await readdir(join(dataDir, 'sealing')).catch(() => [])).toEqual([]);
  });

  it('waits for a build that its worker may come back for, and for what may come late', async () => {
    const lost = await SeededBuild.begin(db);
    await lost.log(['stdout', 'half']);
    await db.query(`UPDATE builds SET state = 'finished', finished_at = now() WHERE id = $1`, [
      lost.id,
    ]);
    await db.query(`UPDATE leases SET lost_at = now() WHERE build_id = $1`, [lost.id]);
    await db.query(`INSERT INTO events (kind, build_id) VALUES ('build.finished', $1)`, [lost.id]);
    const cut = await SeededBuild.begin(db);
    await cut.log(['stdout', 'late']);
    await cut.finish('exception');
    await db.query('UPDATE steps SET log_sha256 = NULL WHERE build_id = $1', [cut.id]);
    await sealAll();
    expect([await sealedRow(lost.id), await sealedRow(cut.id)]).toEqual([undefined, undefined]);

    // Another worker has the request; and the ten minutes are over.
    await db.query('DELETE FROM leases WHERE build_id = $1', [lost.id]);
    const ago = `now() - interval '11 minutes'`;
    await db.query(`UPDATE builds SET finished_at = ${ago} WHERE id = ANY($1)`, [
      [lost.id, cut.id],
    ]);
    await db.query(`UPDATE log_sealing_later SET not_before = now()`);
    await sealAll();
    expect(await sealedRow(lost.id)).toBeDefined();
    expect(await sealedRow(cut.id)).toBeDefined();
    expect(await db.query('SELECT * FROM log_sealing_later')).toEqual([]);
  });

  it('leaves alone what it cannot seal, says so, and goes on with the rest', async () => {
    const torn = await built(chunksOf(5, 30));
    const other = await built(chunksOf(5, 30));
    await db.query('DELETE FROM log_chunks WHERE build_id = $1 AND byte_offset > 0', [torn.id]);
    await sealAll();
    expect(await sealedRow(torn.id)).toBeUndefined();
    expect(await sealedRow(other.id)).toBeDefined();
    const [problem] = await db.query('SELECT build_id, failures, problem FROM log_sealing_later');
    expect(problem).toEqual({
      build_id: torn.id,
      failures: 1,
      problem: expect.stringContaining('and chunks for'),
    });
    // Its partition stays, however old.
    await dayGoesBy();
    await tidy();
    expect(await oldPartitions()).toHaveLength(1);
    await db.query('DELETE FROM log_chunks WHERE build_id = $1', [torn.id]);
    await db.query('DELETE FROM log_sealing_later');
    await tidy();
  });

  it('does not keep a day for chunks without bytes, as an earlier master took them', async () => {
    const empty = async (build: number, offset: number, day = 'now()') =>
      db.query(
        `INSERT INTO log_chunks (build_id, step, byte_offset, seq, stream, length, first_line, at, crc32, data, day)
         VALUES ($1, 0, $2, 9, 1, 0, 0, now(), 0, '\\x000000ffff', ((${day}) AT TIME ZONE 'utc')::date)`,
        [build, offset],
      );
    const nothing = await built([]);
    await empty(nothing.id, 0);
    const some = await built(chunksOf(3, 30));
    // At the place of another one, the next day.
    await empty(some.id, 0, `now() + interval '1 day'`);
    await empty(some.id, some.whole.length);
    const before = await readings(some.id);
    await sealAll();
    expect(await sealedRow(some.id)).toBeDefined();
    expect(await db.query('SELECT * FROM log_sealing_later')).toEqual([]);
    await db.query(`DELETE FROM log_chunks WHERE day > (now() AT TIME ZONE 'utc')::date`);
    await dayGoesBy();
    await tidy();
    expect(await oldPartitions()).toEqual([]);
    expect(await readings(some.id)).toEqual(before);
  });

  it('takes up builds that no event told of before it drops their day', async () => {
    const { id } = await built(chunksOf(3, 30));
    await db.query('DELETE FROM events WHERE build_id = $1', [id]);
    await sealAll();
    expect(await sealedRow(id)).toBeUndefined();
    await dayGoesBy();
    const sealer = sealerIn(dataDir);
    await sealer.tidy();
    expect(await oldPartitions()).toHaveLength(1);
    await sealer.pass();
    expect(await sealedRow(id)).toBeDefined();
    await sealer.tidy();
    expect(await oldPartitions()).toEqual([]);
    await sealer.beforeApplicationShutdown();
  });

  it('is done by one master, and by another when that has fallen silent', async () => {
    const [one, other] = [sealerIn(dataDir), sealerIn(dataDir)];
    expect(await one.pass()).toBe(true);
    expect(await other.pass()).toBe(false);
    await db.query(`UPDATE log_sealing SET held_until = now() - interval '1 second'`);
    expect(await other.pass()).toBe(true);
    await other.beforeApplicationShutdown();
    expect(await one.pass()).toBe(true);
    await one.beforeApplicationShutdown();
  });

  // Without another look it would be found by the one that needs no news, a minute later.
  it('looks again for what a transaction held back', async () => {
    const sealer = sealerIn(dataDir);
    await sealer.onApplicationBootstrap();
    const held = async () =>
      (await db.query<{ at: string }>('SELECT held_until::text AS at FROM log_sealing'))[0]?.at;
    let build = 0;
    await db.transaction(async (tx) => {
      await tx.query('SELECT pg_current_xact_id()');
      const before = await held();
      build = (await built(chunksOf(1, 20))).id;
      while ((await held()) === before) await sleep(20);
      expect(await sealedRow(build)).toBeUndefined();
    });
    while (!(await sealedRow(build))) await sleep(20);
    await sealer.beforeApplicationShutdown();
  });

  it('comes out the same when two do it at once', async () => {
    const several = await Promise.all(
      Array.from({ length: 8 }, (_, n) => built(chunksOf(12, n % 2 ? 4000 : 20, n % 2 === 1))),
    );
    const before = await Promise.all(several.map(({ id }) => readings(id)));
    await allEventsReadable();
    const [one, other] = [sealerIn(dataDir), sealerIn(dataDir)];
    const first = one.pass();
    await db.query(`UPDATE log_sealing SET held_until = '-infinity'`);
    await Promise.all([first, other.pass()]);
    expect(await Promise.all(several.map(({ id }) => readings(id)))).toEqual(before);
    await one.beforeApplicationShutdown();
    await other.beforeApplicationShutdown();
  });

  it('goes on where it was when the database went away in the middle', async () => {
    const { id } = await built(chunksOf(60, 4000, true));
    const sealer = sealerIn(dataDir);
    const restore = await test.cutOff();
    await expect(sealer.pass()).rejects.toThrow();
    await restore();
    await sealer.beforeApplicationShutdown();
    await sealAll();
    expect(await sealedRow(id)).toBeDefined();
  });

  it('does not disturb who reads while rows go away', async () => {
    const { id, whole } = await built(chunksOf(400, 4000, true));
    const reader = logs.chunks({ build: id, step: 0 }, 0, whole.length);
    const parts: Buffer[] = [];
    for (let n = 0; n < 3; n++) parts.push(inflate((await reader.next()).value));
    await sealAll();
    await dayGoesBy();
    await tidy();
    expect(await oldPartitions()).toEqual([]);
    for await (const chunk of reader) parts.push(inflate(chunk));
    expect(Buffer.concat(parts).equals(whole)).toBe(true);
  });

  it('leaves nothing half when it is cut off while it writes a file', async () => {
    const { id } = await built(chunksOf(60, 4000, true));
    // Nobody can make a file here.
    const locked = join(dataDir, 'locked');
    await writeFile(locked, '');
    await allEventsReadable();
    const sealer = sealerIn(locked);
    await sealer.pass();
    await sealer.beforeApplicationShutdown();
    expect(await sealedRow(id)).toBeUndefined();
    await expect(stat(join(locked, 'blobs'))).rejects.toThrow();
    await db.query(`UPDATE log_sealing_later SET not_before = now()`);
    await sealAll();
    expect(await sealedRow(id)).toBeDefined();
  });
});
