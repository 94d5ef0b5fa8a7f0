import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { PACKED_BYTES, type PackedFile } from '@impgem/protocol';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import { Events } from '../events/index.js';
import {
  Database,
  DataDisk,
  LIMITS,
  type MasterConfig,
  readConfig,
  withConfig,
} from '../platform/index.js';
import { archiveOf } from './archive.js';
import { Artifacts } from './artifacts.js';
import { ArtifactReceiver } from './receiver.js';

let test: TestDatabase;
let db: Database;
let config: MasterConfig;
let events: Events;
let receiver: ArtifactReceiver;
let artifacts: Artifacts;
let build = 0;

beforeAll(async () => {
  test = await testDatabase();
  db = new Database({ url: test.url });
  events = new Events(db);
  const dataDir = await mkdtemp(join(tmpdir(), 'impgem-artifacts-'));
  const limits = { ...LIMITS, artifactBytes: 1000, artifactsPerBuild: 4 };
  config = withConfig(readConfig({}), { dataDir, limits });
  await seedFarm(db);
});
beforeEach(async () => {
  build = (await SeededBuild.begin(db)).id;
  receiver = new ArtifactReceiver(db, events, config, new DataDisk(config));
  await receiver.onApplicationBootstrap();
  artifacts = new Artifacts(db, config);
});
afterEach(async () => {
  await receiver.forget(build, 1);
  receiver.onApplicationShutdown();
  await db.query('DELETE FROM leases');
});
afterAll(async () => {
  await db.close();
  await test.drop();
  await rm(config.dataDir, { recursive: true });
});

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const ref = (artifact = 0) => ({ build, epoch: 1, artifact });
const offer = (bytes: Uint8Array | number, path = 'dist/app', artifact = 0) =>
  receiver.offer('w', {
    type: 'artifact.offer',
    ...ref(artifact),
    path,
    size: typeof bytes === 'number' ? bytes : bytes.length,
    mode: 0o755,
  });
const write = (payload: Uint8Array, offset = 0, artifact = 0) =>
  receiver.write({ kind: 'artifact', ...ref(artifact), offset, payload });
const done = (bytes: Uint8Array, artifact = 0) =>
  receiver.done({
    type: 'artifact.done',
    ...ref(artifact),
    size: bytes.length,
    sha256: sha256(bytes),
  });
const packed = (contents: readonly Buffer[]): PackedFile[] =>
  contents.map((content, n) => ({
    artifact: n,
    path: `p${n}`,
    size: content.length,
    mode: 0o644,
    sha256: sha256(content),
  }));
const offerPack = (files: PackedFile[], whole: Buffer) =>
  receiver.offer('w', {
    type: 'artifact.offer',
    ...ref(),
    path: files[0]?.path ?? '',
    size: whole.length,
    mode: 0o644,
    files,
  });
const incoming = () => readdir(join(config.dataDir, 'incoming'));

/** From now on the receiver of another master. */
async function use(settings: MasterConfig): Promise<void> {
  receiver.onApplicationShutdown();
  receiver = new ArtifactReceiver(db, events, settings, new DataDisk(settings));
  await receiver.onApplicationBootstrap();
}

const refusal = (text: string) => ({
  code: 'artifact-refused',
  message: expect.stringContaining(text),
});

describe('an artifact', () => {
  it('is sent in blocks, checked, stored by its SHA-256, and announced', async () => {
    const start = await events.head();
    const bytes = randomBytes(500);
    expect(await offer(bytes)).toEqual({ offset: 0 });
    expect(await write(bytes.subarray(0, 200))).toEqual({ offset: 200 });
    expect(await write(bytes.subarray(200), 200)).toEqual({ offset: 500 });
    await done(bytes);
    const found = await artifacts.find(build, 'dist/app');
    expect(found).toMatchObject({ size: 500, sha256: sha256(bytes), mode: 0o755 });
    expect(await readFile(found.content)).toEqual(bytes);
    expect(await incoming()).toEqual([]);
    // Transactions of other databases of the server may hold events back for a while.
    let told = await events.readOn({ after: start, build, limit: 10 });
    while (told.held) told = await events.readOn({ after: start, build, limit: 10 });
    expect(told.events).toMatchObject([
      { kind: 'artifact.stored', builder: 'b', worker: 'w', data: { path: 'dist/app', size: 500 } },
    ]);
  });

  it('keeps no bits but those of permission, whatever the worker says', async () => {
    const setUid = { type: 'artifact.offer', path: 'x', size: 1, mode: 0o6755 } as const;
    await receiver.offer('w', { ...setUid, ...ref(0) });
    const byte = Buffer.from('x');
    await write(byte);
    await done(byte);
    const files = packed([byte]).map((file) => ({ ...file, artifact: 1, mode: 0o7777 }));
    await receiver.offer('w', { ...setUid, ...ref(1), path: 'p0', files });
    await write(byte, 0, 1);
    await done(byte, 1);
    await db.query('UPDATE artifacts SET mode = $1 WHERE build_id = $2 AND number = 1', [
      0o4711,
      build,
    ]);
    const listed = await artifacts.list(build, -1, 10);
    expect(listed.map(({ mode }) => mode)).toEqual([0o755, 0o711]);
    const { files: archived } = await artifacts.archived(build, () => undefined);
    expect(archived.map(({ mode }) => mode)).toEqual([0o755, 0o711]);
  });

  it('that was stored under an odd name is found by it, and is in an archive under one that all systems take', async () => {
    await use(withConfig(config, { limits: { ...config.limits, artifactsPerBuild: 10 } }));
    const odd = ['c:x', 'c_x', 'CON', 'a\u009bb', 'Readme', 'README', 'trailing. '];
    for (const [n] of odd.entries()) {
      await offer(1, `f${n}`, n);
      await write(Buffer.from(`${n}`), 0, n);
      await done(Buffer.from(`${n}`), n);
      await db.query('UPDATE artifacts SET path = $1 WHERE build_id = $2 AND number = $3', [
        odd[n],
        build,
        n,
      ]);
    }
    for (const path of odd) expect((await artifacts.find(build, path)).path).toBe(path);
    const { files } = await artifacts.archived(build, () => undefined);
    const names = ['c_x', 'c_x~1', '_CON', 'a_b', 'Readme', 'README~5', 'trailing__'];
    expect(files.map(({ path }) => path)).toEqual(names);
    const { stream, length } = await archiveOf('zip', files, () => undefined);
    expect((await buffer(stream)).length).toBe(length);
  });

  it('may be empty', async () => {
    expect(await offer(0)).toEqual({ offset: 0 });
    await done(new Uint8Array());
    expect(await artifacts.find(build, 'dist/app')).toMatchObject({ size: 0 });
  });

  it('goes on where it was after a cut, and after a restart of the master', async () => {
    const bytes = randomBytes(600);
    await offer(bytes);
    await write(bytes.subarray(0, 250));
    expect(await offer(bytes)).toEqual({ offset: 250 });
    receiver = new ArtifactReceiver(db, events, config, new DataDisk(config));
    await receiver.onApplicationBootstrap();
    expect(await offer(bytes)).toEqual({ offset: 250 });
    await write(bytes.subarray(250), 250);
    await done(bytes);
    expect(await readFile((await artifacts.find(build, 'dist/app')).content)).toEqual(bytes);
  });

  it('takes blocks that overlap or come twice, and leaves out what comes too early', async () => {
    const bytes = randomBytes(300);
    await offer(bytes);
    expect(await write(bytes.subarray(100), 100)).toEqual({ offset: 0 });
    await write(bytes.subarray(0, 200));
    expect(await write(bytes.subarray(0, 200))).toEqual({ offset: 200 });
    expect(await write(bytes.subarray(100, 300), 100)).toEqual({ offset: 300 });
    await done(bytes);
    expect(await readFile((await artifacts.find(build, 'dist/app')).content)).toEqual(bytes);
  });

  it('keeps the order of blocks that are sent without waiting', async () => {
    const bytes = randomBytes(1000);
    await offer(bytes);
    const writes = Array.from({ length: 10 }, (_, n) =>
      write(bytes.subarray(n * 100, n * 100 + 100), n * 100),
    );
    const end = done(bytes);
    await Promise.all([...writes, end]);
    expect((await artifacts.find(build, 'dist/app')).sha256).toBe(sha256(bytes));
  });

  it('is done as often as the worker says so, also to another master', async () => {
    const bytes = randomBytes(10);
    await offer(bytes);
    await write(bytes);
    await done(bytes);
    await done(bytes);
    receiver = new ArtifactReceiver(db, events, config, new DataDisk(config));
    expect(await offer(bytes)).toEqual({ offset: 10 });
    await done(bytes);
    expect(await artifacts.list(build, -1, 10)).toHaveLength(1);
  });

  it('shares the content with one of the same bytes', async () => {
    const bytes = randomBytes(10);
    for (const n of [0, 1]) {
      await offer(bytes, `f${n}`, n);
      await write(bytes, 0, n);
      await done(bytes, n);
    }
    const [a, b] = await Promise.all(['f0', 'f1'].map((path) => artifacts.find(build, path)));
    expect(a?.content).toBe(b?.content);
    expect(await incoming()).toEqual([]);
  });

  it('may be a pack of small ones, which are stored together and once each', async () => {
    const contents = [
      Buffer.from('one'),
      Buffer.alloc(0),
      Buffer.from('three'),
      Buffer.from('one'),
    ];
    const files = packed(contents);
    const whole = Buffer.concat(contents);
    const send = async (bytes = whole) => {
      await offerPack(files, bytes);
      await write(bytes);
      await done(bytes);
    };
    const changed = Buffer.from(whole);
    changed[4] = 0;
    await expect(send(changed)).rejects.toMatchObject(refusal('"p2": its SHA-256'));
    expect(await artifacts.list(build, -1, 10)).toEqual([]);
    await send();
    // A worker that did not hear of it sends it again.
    await send();
    const listed = await artifacts.list(build, -1, 10);
    expect(listed.map(({ path, number, size, sha256: sum }) => [path, number, size, sum])).toEqual(
      contents.map((content, n) => [`p${n}`, n, content.length, sha256(content)]),
    );
    for (const [n, content] of contents.entries())
      expect((await artifacts.find(build, `p${n}`)).content).toEqual(content);
    const rows = await db.query('SELECT 1 FROM small_blobs WHERE sha256 = ANY($1)', [
      contents.map(sha256),
    ]);
    expect(rows).toHaveLength(3);
    expect(await incoming()).toEqual([]);
  });

  it('goes on with a pack where it was cut', async () => {
    const contents = [randomBytes(300), randomBytes(200)];
    const whole = Buffer.concat(contents);
    await offerPack(packed(contents), whole);
    await write(whole.subarray(0, 250));
    receiver = new ArtifactReceiver(db, events, config, new DataDisk(config));
    await receiver.onApplicationBootstrap();
    expect(await offerPack(packed(contents), whole)).toEqual({ offset: 250 });
    await write(whole.subarray(250), 250);
    await done(whole);
    expect(await artifacts.list(build, -1, 10)).toHaveLength(2);
  });

  it.each([
    ['no files', [], 'has no files'],
    ['a path that climbs', [{ path: '../x' }], 'has .. as a part'],
    ['a number twice', [{}, { artifact: 0 }], 'a number twice'],
    ['sizes that do not add up', [{ size: 9 }], 'do not add up'],
    ['a path that differs only in case', [{}, { path: 'P0' }], 'differs only in case'],
    ['too many', [{}, {}, {}, {}, {}], 'at most 4 artifacts'],
  ])('is no pack with %s, and then nothing of it is taken', async (_, changes, why) => {
    const contents = changes.map((__, n) => Buffer.from(`${n}`));
    const files = packed(contents).map((file, n) => ({ ...file, ...changes[n] }));
    const first = files[0] ?? { path: 'p0', artifact: 0 };
    await expect(
      receiver.offer('w', {
        type: 'artifact.offer',
        ...ref(first.artifact),
        path: first.path,
        size: contents.length,
        mode: 0,
        files,
      }),
    ).rejects.toMatchObject(refusal(why));
    // None of its paths is taken by it.
    expect(await offer(1, 'p0', 9)).toEqual({ offset: 0 });
  });

  it('can be tried again when the database was away at its end', async () => {
    const bytes = randomBytes(10);
    await offer(bytes);
    await write(bytes);
    const restore = await test.cutOff();
    await expect(done(bytes)).rejects.toMatchObject({ code: 'database-unavailable' });
    await restore();
    await done(bytes);
    expect(await artifacts.list(build, -1, 10)).toHaveLength(1);
  });
});

describe('an artifact is refused', () => {
  it.each(['../x', '/x', 'a\\b', 'a\0', '', 'a//b', './a'])('with the path %j', async (path) => {
    await expect(offer(1, path)).rejects.toMatchObject(refusal('the path'));
    expect(await incoming()).toEqual([]);
  });

  it('when it is too big, or one too many', async () => {
    await expect(offer(1001)).rejects.toMatchObject(refusal('takes 1000'));
    for (let n = 0; n < 4; n++) await offer(1, `f${n}`, n);
    await expect(offer(1, 'f4', 4)).rejects.toMatchObject(refusal('at most 4'));
  });

  it('when too many of the build are on their way, and not when one of them is stored', async () => {
    const limits = { ...config.limits, artifactsOnTheirWay: 2 };
    await use(withConfig(config, { limits }));
    await offer(1, 'a', 0);
    await offer(0, 'b', 1);
    await expect(offer(1, 'c', 2)).rejects.toMatchObject(refusal('2 artifacts of the build'));
    await done(new Uint8Array(), 1);
    await offer(1, 'c', 2);
  });

  it('when all of the build are more than it may have, stored or on their way', async () => {
    const small = withConfig(config, { limits: { ...config.limits, buildArtifactBytes: 10 } });
    await use(small);
    const bytes = randomBytes(6);
    await offer(bytes, 'a', 0);
    await expect(offer(5, 'b', 1)).rejects.toMatchObject(refusal('more than 10 bytes together'));
    await write(bytes);
    await done(bytes);
    await use(small);
    await expect(offer(5, 'b', 1)).rejects.toMatchObject(refusal('more than 10 bytes together'));
    await offer(4, 'b', 1);
  });

  it('when the lists of packs would take too much memory, of one worker or of all', async () => {
    // A list of one costs 258 bytes.
    const limits = { ...config.limits, artifactListBytes: 4 * 300 };
    await use(withConfig(config, { limits }));
    const one = (n: number, worker: string) => {
      const [file] = packed([Buffer.from('x')]);
      const files = file ? [{ ...file, artifact: n, path: `m${n}` }] : [];
      const about = { type: 'artifact.offer', ...ref(n), path: `m${n}`, size: 1 } as const;
      return receiver.offer(worker, { ...about, mode: 0, files });
    };
    await one(0, 'w');
    await expect(one(1, 'w')).rejects.toMatchObject(refusal('by itself'));
    await offer(1, 'single', 2);
    for (const [n, worker] of ['x', 'y', 'z'].entries()) {
      await receiver.forget(build, 1);
      await one(n, worker);
    }
    await receiver.forget(build, 1);
    await one(0, 'w');
  });

  it('when a pack has more bytes than one may have', async () => {
    const contents = Array.from({ length: 33 }, () => Buffer.alloc(PACKED_BYTES));
    const files = packed(contents);
    await expect(offerPack(files, Buffer.concat(contents))).rejects.toMatchObject(
      refusal('at most 1048576 bytes'),
    );
  });

  it('when it is a folder of another one, or lies below one', async () => {
    await offer(1, 'a/b', 0);
    await expect(offer(1, 'A', 1)).rejects.toMatchObject(refusal('only in case'));
    await expect(offer(1, 'A/B/c', 1)).rejects.toMatchObject(refusal('a folder of it'));
  });

  it('when its path differs from another only in case', async () => {
    await offer(1, 'README', 0);
    await expect(offer(1, 'readme', 1)).rejects.toMatchObject(refusal('only in case'));
  });

  it('when its bytes are not those announced, and nothing of it stays', async () => {
    const bytes = randomBytes(10);
    await offer(bytes);
    await write(randomBytes(10));
    await expect(done(bytes)).rejects.toMatchObject(refusal('SHA-256'));
    await offer(bytes);
    await expect(done(bytes)).rejects.toMatchObject(refusal('0 bytes came'));
    await offer(bytes);
    await expect(write(randomBytes(11))).rejects.toMatchObject(refusal('more bytes'));
    await expect(write(bytes)).rejects.toMatchObject(refusal('not offered'));
    expect(await incoming()).toEqual([]);
    expect(await artifacts.list(build, -1, 10)).toEqual([]);
  });

  it('when the worker holds the build no more', async () => {
    const bytes = randomBytes(10);
    await offer(bytes);
    await write(bytes);
    await db.query('UPDATE leases SET epoch = 2 WHERE build_id = $1', [build]);
    await expect(done(bytes)).rejects.toMatchObject(refusal('does not hold'));
    expect(await artifacts.list(build, -1, 10)).toEqual([]);
  });

  it('and what was on its way is removed when the attempt is over, or at the next sweep', async () => {
    await offer(10);
    await write(randomBytes(5));
    await receiver.forget(build, 1);
    expect(await incoming()).toEqual([]);
    await offer(10);
    await write(randomBytes(5));
    const file = join(config.dataDir, 'incoming', '999999-1-0');
    await writeFile(file, 'left');
    await receiver.sweep();
    expect(await incoming()).toEqual([`${build}-1-0`]);
  });
});

// Only root may mount.
const asRoot = process.getuid?.() === 0 ? describe : describe.skip;

asRoot('on a disk of 8 MiB an artifact', () => {
  const run = promisify(execFile);
  const MiB = 1024 ** 2;
  const full = { code: 'storage-full' };
  let dataDir: string;
  let small: MasterConfig;

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'impgem-full-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dataDir]);
    const limits = { ...config.limits, artifactBytes: 100 * MiB };
    small = withConfig(config, { dataDir, limits, minFreeBytes: 2 * MiB });
    await use(small);
  });
  afterEach(async () => {
    await run('umount', [dataDir]);
    await rm(dataDir, { recursive: true });
  });
  const files = () => readdir(join(dataDir, 'incoming'));

  it('is refused before a byte is sent when all that was offered would leave too little', async () => {
    await offer(4 * MiB, 'a', 0);
    await expect(offer(4 * MiB, 'b', 1)).rejects.toMatchObject({
      ...full,
      message: expect.stringMatching(/no room.*2 MiB are kept.*IMPGEM_MASTER_MIN_FREE/s),
    });
    expect(await files()).toEqual([]);
    // Its place is free again, also for a smaller one of that name.
    await offer(1 * MiB, 'b', 1);
  });

  it('is taken whatever room another build has asked for, as long as nothing of that comes', async () => {
    const hog = (await SeededBuild.begin(db)).id;
    const ask = { type: 'artifact.offer', build: hog, epoch: 1, path: 'x', mode: 0 } as const;
    await receiver.offer('h', { ...ask, artifact: 0, size: 5 * MiB });
    await expect(
      receiver.offer('h', { ...ask, artifact: 1, size: 5 * MiB, path: 'y' }),
    ).rejects.toMatchObject(full);
    const bytes = randomBytes(3 * MiB);
    await offer(bytes, 'a', 0);
    await write(bytes);
    await done(bytes);
    // More was offered than there is room for: who comes last is told, before the database has none.
    const late = { kind: 'artifact', build: hog, epoch: 1, artifact: 0 } as const;
    const part = randomBytes(3.5 * MiB);
    await receiver.write({ ...late, offset: 0, payload: part });
    await expect(
      receiver.write({ ...late, offset: part.length, payload: randomBytes(MiB) }),
    ).rejects.toMatchObject(full);
    expect(await files()).toEqual([]);
    await receiver.forget(hog, 1);
  });

  it('is removed and refused when the disk fills up all the same, and goes when there is room', async () => {
    await use(withConfig(small, { minFreeBytes: 0 }));
    const bytes = randomBytes(6 * MiB);
    await offer(bytes, 'a', 0);
    await writeFile(join(dataDir, 'ballast'), Buffer.alloc(4 * MiB));
    await expect(write(bytes, 0, 0)).rejects.toMatchObject({
      ...full,
      message: '"a": the disk of the master is full',
    });
    expect(await files()).toEqual([]);
    expect(await artifacts.list(build, -1, 10)).toEqual([]);
    await rm(join(dataDir, 'ballast'));
    await offer(bytes, 'a', 0);
    await write(bytes, 0, 0);
    await done(bytes, 0);
    const blob = join(dataDir, 'blobs', sha256(bytes).slice(0, 2), sha256(bytes));
    expect(bytes.equals(await readFile(blob))).toBe(true);
  });

  it("tells the disk's state without a path", async () => {
    const disk = new DataDisk(small);
    expect(await disk.problem()).toBeUndefined();
    await writeFile(join(dataDir, 'ballast'), Buffer.alloc(7 * MiB));
    expect(await disk.look()).toMatchObject({ low: true });
    expect(await disk.problem()).not.toContain(dataDir);
  });
});
