import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { AuditEntry, BuildDetail, Page, RetentionReport } from '@impgem/client';
import { ArtifactReceiver } from '../artifacts/index.js';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import {
  BlobStore,
  holdSmallBlobs,
  keepBlobs,
  sweepBlobs,
  sweepSmallBlobs,
} from '../platform/index.js';
import { type TestMaster, testMaster } from '../testing.js';

const DAY = 86_400_000;

let master: TestMaster;
let blobs: BlobStore;
let builder = 0;
let signal: AbortSignal;

beforeAll(async () => {
  master = await testMaster();
  await seedFarm(master.database);
  blobs = new BlobStore(join(master.config.dataDir, 'blobs'));
  signal = new AbortController().signal;
});
afterAll(() => master?.stop());
beforeEach(async () => {
  const [row] = await query<{ id: number }>(
    `WITH b AS (
       INSERT INTO builders (name, definition, farm_version, position)
       SELECT 'b' || count(*) + 1, '{}', 1, 1 FROM builders RETURNING *)
     INSERT INTO builder_versions SELECT id, farm_version, definition FROM b RETURNING builder_id AS id`,
  );
  builder = row?.id ?? 0;
  await query(`UPDATE builders SET definition = '{}'`);
});

const query = <Row extends object>(sql: string, params: unknown[] = []) =>
  master.database.query<Row>(sql, params);
const keep = (retention: object) =>
  query('UPDATE builders SET definition = $2 WHERE id = $1', [builder, { retention }]);
const get = (path: string) => master.call('GET', `/api/v1/${path}`);
const preview = async () => (await (await get('retention')).json()) as RetentionReport;
const run = async () => {
  const answer = await master.call('POST', '/api/v1/retention');
  expect(answer.status).toBe(200);
  return (await answer.json()) as RetentionReport;
};
const detail = async (build: SeededBuild) =>
  (await (await get(`builds/${build.id}`)).json()) as BuildDetail;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** A build with an artifact and a log; finished so many days ago, or running. */
async function built(content: string, daysAgo?: number): Promise<SeededBuild> {
  const build = await SeededBuild.begin(master.database, builder);
  const receiver = master.app.get(ArtifactReceiver);
  const ref = { build: build.id, epoch: 1, artifact: 0 };
  const size = content.length;
  await receiver.offer('w', { type: 'artifact.offer', ...ref, path: 'a', size, mode: 0o644 });
  await receiver.write({ kind: 'artifact', ...ref, offset: 0, payload: Buffer.from(content) });
  await receiver.done({ type: 'artifact.done', ...ref, size, sha256: sha256(content) });
  await build.log(['stdout', `${content}\n`]);
  if (daysAgo === undefined) return build;
  await build.finish();
  await query(`UPDATE builds SET finished_at = now() - $2::int * interval '1 day' WHERE id = $1`, [
    build.id,
    daysAgo,
  ]);
  return build;
}

const sweep = () => sweepBlobs(master.database, blobs, signal);

async function sealed(build: SeededBuild): Promise<void> {
  while ((await query('SELECT 1 FROM sealed_logs WHERE build_id = $1', [build.id])).length === 0)
    await sleep(20);
}

describe('retention', () => {
  it('tells what would go, and removes that: artifacts of old builds, in order, but the newest', async () => {
    const old = [await built('old one', 9), await built('shared', 8)];
    const young = await built('shared', 2);
    const newest = await built('newest', 9);
    await keep({ artifactsMs: 7 * DAY, keep: 1 });
    const wouldGo = await preview();
    expect(wouldGo).toMatchObject({
      builders: [
        {
          builds: 0,
          buildsThrough: null,
          logs: 0,
          logsThrough: null,
          artifacts: 2,
          artifactsThrough: (await detail(old[1] as SeededBuild)).number,
          artifactBytes: 'old one'.length + 'shared'.length,
        },
      ],
      bytes: 'old one'.length + 'shared'.length,
      more: false,
      disk: { low: expect.any(Boolean), freeBytes: expect.any(Number) },
    });
    expect((await preview()).builders).toEqual(wouldGo.builders);
    expect((await run()).builders).toEqual(wouldGo.builders);
    expect((await preview()).builders).toEqual([]);
    for (const build of old) expect((await detail(build)).artifacts).toEqual([]);
    for (const build of [young, newest]) expect((await detail(build)).artifacts).toHaveLength(1);
    // Content that another build has too stays.
    expect(await blobs.has(sha256('old one'))).toBe(false);
    expect(await blobs.has(sha256('shared'))).toBe(true);
    const { items } = (await (await get('audit?limit=2')).json()) as Page<AuditEntry>;
    expect(items).toMatchObject([
      { action: 'retention.run', actor: 'token:first-admin', detail: { artifacts: 2 } },
      { action: 'retention.remove', detail: { kind: 'artifacts', artifacts: 2 } },
    ]);
  });

  it('does not touch what is not over for good, nor what comes behind it', async () => {
    await built('one', 9);
    const running = await built('two');
    const behind = await built('three', 9);
    await built('four', 9);
    await keep({ buildsMs: DAY, keep: 0 });
    expect((await run()).builders).toMatchObject([{ builds: 1, artifacts: 1 }]);
    expect((await run()).builders).toEqual([]);
    await running.finish();
    expect((await run()).builders).toEqual([]);
    // It is finished for long, but its request waits for another attempt.
    await query(`UPDATE builds SET finished_at = now() - interval '3 days' WHERE id = $1`, [
      running.id,
    ]);
    await query(`UPDATE build_requests SET state = 'pending' WHERE id = $1`, [running.request]);
    expect((await run()).builders).toEqual([]);
    expect((await get(`builds/${behind.id}`)).status).toBe(200);
    await query(`UPDATE build_requests SET state = 'finished' WHERE id = $1`, [running.request]);
    expect((await run()).builders).toMatchObject([{ builds: 3 }]);
  });

  it('removes logs, says so of the step, and answers 404 for them', async () => {
    const build = await built('log', 3);
    await sealed(build);
    const other = await built('unsealed', 3);
    await query(`INSERT INTO log_sealing_later (build_id, not_before) VALUES ($1, now())`, [
      other.id,
    ]);
    await keep({ logsMs: DAY, keep: 0 });
    const report = await run();
    expect(report.builders).toMatchObject([{ builds: 0, logs: 2, artifacts: 0 }]);
    expect(report.builders[0]?.logBytes).toBeGreaterThan(0);
    for (const { id } of [build, other]) {
      const answer = await get(`builds/${id}/steps/0/log`);
      expect([answer.status, await answer.json()]).toMatchObject([
        404,
        { code: 'not-found', detail: expect.stringContaining('was removed') },
      ]);
    }
    expect((await detail(build)).steps[0]?.log).toMatchObject({ bytes: 4, removed: true });
    expect((await detail(build)).artifacts).toHaveLength(1);
    const left = await query('SELECT 1 FROM log_sealing_later WHERE build_id = $1', [other.id]);
    expect(left).toEqual([]);
  });

  it('removes builds with all that was theirs', async () => {
    const build = await built('gone', 3);
    // Or it would be sealed behind our back: nothing is that young in a farm.
    await sealed(build);
    await query(`INSERT INTO events (kind, request_id) VALUES ('request.submitted', $1)`, [
      build.request,
    ]);
    const [cancelled] = await query<{ id: number }>(
      `INSERT INTO build_requests (builder_id, farm_version, group_id, properties, rank,
         submitted_by, state, result, finished_at)
       SELECT $1, farm_version, group_id, '{}', 1, 't', 'finished', 'cancelled', now() - interval '2 days'
       FROM build_requests LIMIT 1 RETURNING id`,
      [builder],
    );
    await keep({ buildsMs: DAY, keep: 0 });
    expect((await run()).builders).toMatchObject([{ builds: 1, artifacts: 1 }]);
    expect((await get(`builds/${build.id}`)).status).toBe(404);
    const left = await query<{ name: string; n: number }>(
      `SELECT 'requests' AS name, count(*) AS n FROM build_requests WHERE id = ANY($2)
       UNION ALL SELECT 'events', count(*) FROM events WHERE build_id = $1 OR request_id = ANY($2)
       UNION ALL SELECT 'steps', count(*) FROM steps WHERE build_id = $1
       UNION ALL SELECT 'artifacts', count(*) FROM artifacts WHERE build_id = $1
       UNION ALL SELECT 'logs', count(*) FROM sealed_logs WHERE build_id = $1`,
      [build.id, [build.request, cancelled?.id]],
    );
    expect(left.filter(({ n }) => n > 0)).toEqual([]);
    expect(await blobs.has(sha256('gone'))).toBe(false);
  });

  it('removes old events of workers and of the farm, and old rows of the audit log, and nothing younger', async () => {
    const build = await built('with events');
    const count = async (sql: string) =>
      (await query<{ n: number }>(`SELECT count(*) AS n ${sql}`))[0]?.n;
    const rows = async () => ({
      own: await count(`FROM events WHERE worker = 'old' AND build_id IS NULL`),
      ofBuild: await count(`FROM events WHERE worker = 'old' AND build_id IS NOT NULL`),
      audit: await count(`FROM audit WHERE actor = 'old'`),
    });
    // As if the farm were older than its first rows here.
    await query(`UPDATE events SET at = now() - interval '5 years'`);
    await query(`UPDATE audit SET at = now() - interval '5 years'`);
    await query(
      `INSERT INTO events (kind, worker, build_id, at)
       SELECT 'worker.online', 'old', CASE n % 2 WHEN 0 THEN $1::bigint END, now() - n * interval '1 day'
       FROM generate_series(1, 400) AS n ORDER BY n DESC`,
      [build.id],
    );
    await query(
      `INSERT INTO audit (actor, action, target, at)
       SELECT 'old', 'x', 'x', now() - n * interval '10 days' FROM generate_series(1, 100) AS n ORDER BY n DESC`,
    );
    await run();
    // 90 days of events, but all of a build's; 730 days of the audit log.
    const left = { own: 45, ofBuild: 200, audit: 72 };
    expect(await rows()).toEqual(left);
    await run();
    expect(await rows()).toEqual(left);
  });

  it('waits for another master that removes', async () => {
    await built('locked', 3);
    await keep({ artifactsMs: DAY, keep: 0 });
    let running: Promise<RetentionReport> | undefined;
    await master.database.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock(7355611)');
      running = run();
      for (;;) {
        const waiting = await tx.query(
          `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 7355611`,
        );
        if (waiting.length > 0) break;
      }
      expect((await preview()).builders).toMatchObject([{ artifacts: 1 }]);
    });
    expect((await running)?.builders).toMatchObject([{ artifacts: 1 }]);
  });
});

describe('the sweep of blobs', () => {
  it('leaves a blob that an upload under way is about to name', async () => {
    const content = 'about to be named';
    const file = join(master.config.dataDir, 'upload');
    await writeFile(file, content);
    const files = [{ file, sha256: sha256(content) }];
    const abandoned = keepBlobs(master.database, blobs, files, async () => {
      expect(await blobs.has(sha256(content))).toBe(true);
      expect(await sweep()).toEqual({ blobs: 0, bytes: 0 });
      expect(await blobs.has(sha256(content))).toBe(true);
      throw new Error('its worker lost the build');
    });
    await expect(abandoned).rejects.toThrow('lost the build');
    expect(await sweep()).toEqual({ blobs: 1, bytes: content.length });
    // The file is there still: it can be done again.
    const build = await SeededBuild.begin(master.database, builder);
    await keepBlobs(master.database, blobs, files, (tx) =>
      tx.query(
        `INSERT INTO artifacts (build_id, number, path, size, sha256, mode) VALUES ($1, 0, 'a', 1, $2, 0)`,
        [build.id, sha256(content)],
      ),
    );
    expect(await sweep()).toEqual({ blobs: 0, bytes: 0 });
    expect(await blobs.has(sha256(content))).toBe(true);
  });

  it('removes contents that are rows when no artifact names them, but not while a pack is stored', async () => {
    const build = await SeededBuild.begin(master.database, builder);
    const receiver = master.app.get(ArtifactReceiver);
    const ref = { build: build.id, epoch: 1, artifact: 0 };
    const file = { artifact: 0, path: 'a', size: 4, mode: 0o644, sha256: sha256('here') };
    await receiver.offer('w', { type: 'artifact.offer', ...ref, ...file, files: [file] });
    await receiver.write({ kind: 'artifact', ...ref, offset: 0, payload: Buffer.from('here') });
    await receiver.done({ type: 'artifact.done', ...ref, size: 4, sha256: sha256('here') });
    await query(`INSERT INTO small_blobs VALUES ($1, 'left')`, [sha256('left')]);
    const left = () =>
      query<{ sha256: string }>('SELECT sha256 FROM small_blobs WHERE sha256 = ANY($1)', [
        [sha256('here'), sha256('left')],
      ]);
    await master.database.transaction(async (tx) => {
      await holdSmallBlobs(tx);
      expect(await sweepSmallBlobs(master.database, signal)).toBeUndefined();
    });
    expect(await left()).toHaveLength(2);
    expect(await sweepSmallBlobs(master.database, signal)).toBe(1);
    expect(await left()).toEqual([{ sha256: sha256('here') }]);
    await query('DELETE FROM artifacts WHERE build_id = $1', [build.id]);
    expect(await sweepSmallBlobs(master.database, signal)).toBe(1);
  });

  it('leaves all while a backup copies them', async () => {
    const content = 'in a backup';
    const file = join(master.config.dataDir, 'loose');
    await writeFile(file, content);
    await blobs.adopt(file, sha256(content));
    await master.database.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock_shared(7355610, 256)');
      expect(await sweep()).toBeUndefined();
    });
    expect(await blobs.has(sha256(content))).toBe(true);
    expect(await sweep()).toEqual({ blobs: 1, bytes: content.length });
  });
});
