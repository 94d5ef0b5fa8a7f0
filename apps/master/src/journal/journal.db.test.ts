import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildEvent, JournalEvent, LogFrame } from '@impgem/protocol';
import type { Claimant } from '../scheduling/index.js';
import { TestFarm, lockWaits, until } from '../scheduling/testing.js';
import { commitBatch } from './commit.js';
import { DataDisk, LIMITS, MasterConfig, withConfig } from '../platform/index.js';
import { Journal } from './journal.js';
import { Room } from './room.js';
import type { JournalSource } from './pending.js';
import type { Outcome } from './ingest.js';

/** Small bounds, to meet them soon. */
const CONFIG = withConfig(new MasterConfig(), {
  limits: {
    ...LIMITS,
    eventsPerBuild: 20,
    propertiesPerBuild: 5,
    propertyBytesPerBuild: 300,
    stepLogBytes: 1000,
    buildLogBytes: 2000,
  },
});

const roomOf = (config: MasterConfig) =>
  new Room(farm.db, farm.leases, config, new DataDisk(config));
const journalWith = (config: MasterConfig, room = roomOf(config)) =>
  new Journal(farm.db, farm.events, farm.leases, config, room);

let farm: TestFarm;
let journal: Journal;
beforeAll(async () => {
  farm = await TestFarm.open();
  journal = journalWith(CONFIG);
});
afterAll(async () => {
  await journal?.beforeApplicationShutdown();
  await farm?.close();
});
afterEach(async () => {
  await farm.db.query('DELETE FROM leases');
  await farm.db.query(`UPDATE build_requests SET state = 'finished'`);
});

class Source implements JournalSource {
  to = journal;
  readonly outcomes: Outcome[] = [];
  pending = 0;
  failures = 0;
  constructor(
    readonly worker: Claimant,
    readonly build: number,
    readonly epoch: number,
  ) {}
  outcome(outcome: Outcome) {
    this.outcomes.push(outcome);
  }
  failed() {
    this.failures += 1;
  }
  drained(bytes: number) {
    this.pending -= bytes;
  }
  event(seq: number, event: object): void {
    const { build, epoch } = this;
    const record = { type: 'event', build, epoch, seq, atMs: 5, event: event as BuildEvent };
    this.pending += this.to.append(this, record as JournalEvent);
  }
  chunk(seq: number, text: string, offset = 0, changes: Partial<LogFrame> = {}): void {
    this.pending += this.to.append(this, this.frame(seq, text, offset, changes));
  }
  frame(seq: number, text: string, offset = 0, changes: Partial<LogFrame> = {}): LogFrame {
    const { build, epoch } = this;
    const bytes = Buffer.from(text);
    return {
      kind: 'log',
      build,
      epoch,
      seq,
      step: 0,
      stream: 'stdout',
      offset,
      length: bytes.length,
      crc32: crc32(bytes),
      atMs: 7,
      payload: deflateRawSync(bytes, { finishFlush: constants.Z_FULL_FLUSH }),
      ...changes,
    };
  }
  /** Waits until everything appended is decided, and returns what was said. */
  async settled(): Promise<Outcome[]> {
    await until(() => this.pending === 0);
    return this.outcomes.splice(0);
  }
  ref(type: Outcome['type'], seq?: number) {
    const { build, epoch } = this;
    return seq === undefined ? { type, build, epoch } : { type, build, epoch, seq };
  }
}

let names = 0;
/** A build that a worker of its own has. */
async function running(steps = ['one', 'two']): Promise<Source & { request: number }> {
  const request = await farm.submit({ builder: `b${steps.length}`, steps });
  const worker = await farm.worker(`worker-${names++}`);
  const [assignment] = await farm.claim(worker);
  const source = new Source(worker, assignment?.build ?? 0, assignment?.epoch ?? 0);
  return Object.assign(source, { request });
}

const end = (bytes: number) => ({ bytes, sha256: { stdout: 'ab'.repeat(32) } });
const finished = (more: object) => ({
  kind: 'step.finished',
  step: 0,
  result: 'success',
  log: end(0),
  ...more,
});
const noise = (bytes: number) => randomBytes(bytes / 2).toString('hex');
const property = (name: string, value: string) => ({ kind: 'property.set', name, value });
const chunks = (build: number) =>
  farm.db.query(
    `SELECT step, byte_offset AS "offset", seq, stream, length, first_line AS line, data
     FROM log_chunks WHERE build_id = $1 ORDER BY step, byte_offset`,
    [build],
  );

const many = (source: Source, count: number, event: (n: number) => object) => {
  for (let n = 1; n <= count; n++) source.event(n, event(n));
};

describe('the journal', () => {
  it('takes a record that waited for one of another master', async () => {
    const source = await running();
    await farm.db.transaction(async (tx) => {
      const workerId = source.worker.id;
      const record = source.frame(1, 'hello');
      await commitBatch(tx, farm.events, [{ workerId, record, checked: { newlines: 0 } }]);
      source.chunk(2, ' world', 5);
      await until(async () => (await lockWaits(farm.db)) > 0);
    });
    expect(await source.settled()).toEqual([source.ref('committed', 2)]);
    expect(await chunks(source.build)).toMatchObject([{ offset: 0 }, { offset: 5 }]);
  });

  it('takes a build from start to end', async () => {
    const source = await running();
    const { build } = source;
    source.event(1, { kind: 'build.started' });
    source.event(2, { kind: 'property.set', name: 'got_revision', value: 'abc' });
    source.event(3, { kind: 'step.started', step: 0 });
    source.chunk(4, 'hello\nwor');
    source.chunk(5, 'ld\n', 9);
    source.event(6, {
      kind: 'step.finished',
      step: 0,
      result: 'success',
      exitCode: 0,
      log: end(12),
    });
    expect((await source.settled()).at(-1)).toEqual(source.ref('committed', 6));
    expect(await farm.row('SELECT seq FROM leases WHERE build_id = $1', build)).toEqual({ seq: 6 });
    expect(await chunks(build)).toMatchObject([
      { offset: 0, seq: 4, stream: 1, length: 9, line: 0 },
      { offset: 9, seq: 5, stream: 1, length: 3, line: 1 },
    ]);
    expect(
      await farm.row(
        `SELECT state, result, exit_code, log_bytes, log_lines, log_finished, log_sha256,
                started_at IS NOT NULL AND finished_at IS NOT NULL AS timed
         FROM steps WHERE build_id = $1 AND index = 0`,
        build,
      ),
    ).toEqual({
      state: 'finished',
      result: 'success',
      exit_code: 0,
      log_bytes: 12,
      log_lines: 2,
      log_finished: true,
      log_sha256: { stdout: 'ab'.repeat(32) },
      timed: true,
    });
    source.event(7, {
      kind: 'build.finished',
      result: 'failure',
      reason: { code: 'exit-code', message: 'x' },
    });
    expect(await source.settled()).toEqual([source.ref('committed', 7), source.ref('finished')]);
    expect(await farm.build(build)).toMatchObject({ state: 'finished', result: 'failure' });
    expect(await farm.request(source.request)).toMatchObject({
      state: 'finished',
      result: 'failure',
      attempts: 1,
    });
    expect(await farm.row('SELECT properties FROM builds WHERE id = $1', build)).toEqual({
      properties: { got_revision: 'abc' },
    });
    expect(
      await farm.row('SELECT state, result FROM steps WHERE build_id = $1 AND index = 1', build),
    ).toEqual({
      state: 'finished',
      result: 'skipped',
    });
    expect(await farm.kinds(build)).toEqual([
      'build.assigned',
      'build.started',
      'property.set',
      'step.started',
      'step.finished',
      'build.finished',
      'request.finished',
    ]);
  });

  it('ignores what is committed and acknowledges it, and says where a gap is', async () => {
    const source = await running();
    source.event(1, { kind: 'build.started' });
    source.chunk(2, 'abc');
    await source.settled();
    source.event(1, { kind: 'build.started' });
    source.chunk(2, 'abc');
    expect(await source.settled()).toEqual([source.ref('committed', 2)]);
    source.chunk(5, 'later', 3);
    source.chunk(6, 'later', 8);
    expect(await source.settled()).toEqual([source.ref('gap', 2)]);
    expect(await chunks(source.build)).toHaveLength(1);
    expect(
      (await farm.kinds(source.build)).filter((kind) => kind === 'build.started'),
    ).toHaveLength(1);
  });

  it("changes nothing for a stale epoch or another worker's build", async () => {
    const source = await running();
    const thief = new Source(await farm.worker('thief'), source.build, source.epoch);
    thief.event(1, { kind: 'build.finished', result: 'success' });
    expect(await thief.settled()).toEqual([thief.ref('taken')]);
    const stale = new Source(source.worker, source.build, source.epoch + 1);
    stale.chunk(1, 'abc');
    stale.event(2, { kind: 'build.finished', result: 'success' });
    expect(await stale.settled()).toEqual([stale.ref('taken')]);
    expect(await farm.build(source.build)).toMatchObject({ state: 'running' });
    expect(await chunks(source.build)).toEqual([]);
  });

  it('keeps two interleaved steps and streams apart', async () => {
    const source = await running();
    source.chunk(1, 'a\n', 0);
    source.chunk(2, 'x\ny\n', 0, { step: 1 });
    source.chunk(3, 'b\n', 2, { stream: 'stderr' });
    source.chunk(4, 'z\n', 4, { step: 1 });
    await source.settled();
    expect(await chunks(source.build)).toMatchObject([
      { step: 0, offset: 0, line: 0, stream: 1 },
      { step: 0, offset: 2, line: 1, stream: 2 },
      { step: 1, offset: 0, line: 0 },
      { step: 1, offset: 4, line: 2 },
    ]);
  });

  it.each<[string, (source: Source) => void]>([
    ['a chunk that does not join', (source) => source.chunk(1, 'abc', 10)],
    ['a chunk with another CRC-32', (source) => source.chunk(1, 'abc', 0, { crc32: 7 })],
    ['a step that is not there', (source) => source.event(1, { kind: 'step.started', step: 9 })],
    [
      'a log of another length',
      (source) =>
        source.event(1, { kind: 'step.finished', step: 0, result: 'success', log: end(1) }),
    ],
  ])('refuses %s, and what stands behind it', async (_, send) => {
    const source = await running();
    send(source);
    source.event(2, { kind: 'build.finished', result: 'success' });
    expect(await source.settled()).toMatchObject([{ type: 'corrupt', build: source.build }]);
    expect(await farm.build(source.build)).toMatchObject({ state: 'running' });
  });

  it('gives a build back to the queue when the worker asks for a retry', async () => {
    const source = await running();
    const reason = { code: 'engine-unavailable', message: 'the engine is gone' };
    source.event(1, { kind: 'build.finished', result: 'exception', reason });
    await source.settled();
    expect(await farm.build(source.build)).toMatchObject({ result: 'exception', reason });
    expect(await farm.request(source.request)).toMatchObject({ state: 'pending', attempts: 1 });
  });

  it('commits many workers together', async () => {
    const sources = await Promise.all(Array.from({ length: 20 }, () => running(['only'])));
    for (const source of sources) {
      source.event(1, { kind: 'build.started' });
      source.chunk(2, 'line\n');
      source.event(3, { kind: 'build.finished', result: 'success' });
    }
    for (const source of sources)
      expect((await source.settled()).at(-1)).toEqual(source.ref('finished'));
    const { xids } = await farm.row<{ xids: number }>(
      `SELECT count(DISTINCT xid) AS xids FROM events WHERE kind = 'build.started' AND build_id = ANY($1)`,
      sources.map(({ build }) => build),
    );
    expect(xids).toBe(1);
  });

  it('waits for a database that is away, and acknowledges nothing before', async () => {
    const source = await running();
    const back = await farm.database.cutOff();
    source.event(1, { kind: 'build.started' });
    await until(() => farm.db.status() === 'down');
    expect(source.outcomes).toEqual([]);
    await back();
    expect(await source.settled()).toEqual([source.ref('committed', 1)]);
  });

  it.each<[string, (source: Source) => void]>([
    ['a text with NUL', (bad) => bad.event(2, { kind: 'property.set', name: 'x', value: 'a\0b' })],
    [
      'half a character',
      (bad) => bad.event(2, { kind: 'property.set', name: 'x', value: '\uD800' }),
    ],
    ['a number above its column', (bad) => bad.event(2, finished({ exitCode: 2 ** 40 }))],
    [
      'a reason with NUL',
      (bad) =>
        bad.event(2, {
          kind: 'build.finished',
          result: 'failure',
          reason: { code: 'x', message: '\0' },
        }),
    ],
  ])('gives up a build that tells %s, with a reason, and no other one', async (_, tell) => {
    const bad = await running();
    const good = await running();
    bad.event(1, { kind: 'build.started' });
    tell(bad);
    bad.event(3, { kind: 'step.started', step: 0 });
    good.event(1, { kind: 'build.started' });
    expect(await good.settled()).toEqual([good.ref('committed', 1)]);
    const told = await bad.settled();
    expect(told).toContainEqual({
      ...bad.ref('taken'),
      reason: {
        code: 'unstorable',
        message: expect.stringMatching(/^record 2 of the build \([a-z.]+\): /),
      },
    });
    expect(bad.failures).toBe(0);
    const state = { state: 'finished', result: 'exception', reason: { code: 'unstorable' } };
    expect(await farm.build(bad.build)).toMatchObject(state);
    expect(await farm.request(bad.request)).toMatchObject({ state: 'finished' });
    // What came before it stays.
    expect(await farm.kinds(bad.build)).toContain('build.started');
  });

  it('leaves builds alone for an error that is not of what they tell', async () => {
    const source = await running();
    await farm.db.query('ALTER TABLE steps RENAME TO steps_away');
    source.event(1, { kind: 'build.started' });
    await source.settled();
    await farm.db.query('ALTER TABLE steps_away RENAME TO steps');
    expect(source.failures).toBe(1);
    expect(await farm.build(source.build)).toMatchObject({ state: 'running' });
  });

  it.each<[string, string, RegExp, (source: Source) => void]>([
    [
      'properties',
      'journal-limit',
      /more than 5 properties/,
      (bad) => many(bad, 6, (n) => property(`p${n}`, 'x')),
    ],
    [
      'one property again and again',
      'journal-limit',
      /more than 5 properties/,
      (bad) => many(bad, 6, () => property('p', 'x')),
    ],
    [
      'big properties',
      'journal-limit',
      /more than 300 bytes/,
      (bad) => many(bad, 2, (n) => property(`p${n}`, '€'.repeat(60))),
    ],
    [
      'events',
      'journal-limit',
      /more than 20 events/,
      (bad) => many(bad, 21, () => ({ kind: 'build.started' })),
    ],
    [
      'output of a step',
      'output-limit',
      /"one" wrote more than 1000 bytes/,
      (bad) => bad.chunk(1, 'x'.repeat(1001)),
    ],
    [
      'output in little pieces',
      'output-limit',
      /more than 2000 bytes/,
      (bad) => Array.from({ length: 20 }, (_, n) => bad.chunk(n + 1, 'x', n)),
    ],
  ])(
    'ends a build that tells of too many %s, whatever the batches',
    async (_, code, message, tell) => {
      const bad = await running();
      const good = await running();
      tell(bad);
      good.event(1, { kind: 'build.started' });
      const reason = { code, message: expect.stringMatching(message) };
      expect((await bad.settled()).at(-1)).toEqual({ ...bad.ref('taken'), reason });
      expect(await good.settled()).toEqual([good.ref('committed', 1)]);
      expect(await farm.build(bad.build)).toMatchObject({
        state: 'finished',
        result: 'failure',
        reason,
      });
    },
  );

  it('ends the build that writes most when the disk is low, and no other one', async () => {
    const limits = { ...CONFIG.limits, stepLogBytes: 1e9, buildLogBytes: 1e9 };
    const full = withConfig(CONFIG, { dataDir: tmpdir(), minFreeBytes: 2 ** 60, limits });
    const room = roomOf(full);
    const to = journalWith(full, room);
    const [big, bigger, small] = [await running(), await running(), await running()];
    for (const source of [big, bigger, small]) Object.assign(source, { to });
    for (let n = 0; n < 8; n++) big.chunk(n + 1, noise(60_000), n * 60_000);
    for (let n = 0; n < 10; n++) bigger.chunk(n + 1, noise(60_000), n * 60_000);
    small.chunk(1, 'x');
    for (const source of [big, bigger, small]) await source.settled();
    await room.look();
    const reason = {
      code: 'storage-full',
      message: expect.stringContaining('IMPGEM_MASTER_MIN_FREE'),
    };
    expect(bigger.outcomes.splice(0)).toEqual([{ ...bigger.ref('taken'), reason }]);
    expect(await farm.build(bigger.build)).toMatchObject({
      state: 'finished',
      result: 'exception',
      reason,
    });
    expect(await farm.build(big.build)).toMatchObject({ state: 'running' });
    bigger.chunk(11, 'more', 600_000);
    expect(await bigger.settled()).toEqual([bigger.ref('taken')]);
    // The next one, as long as there is one that writes much.
    await room.look();
    expect(await farm.build(big.build)).toMatchObject({ state: 'finished' });
    await room.look();
    expect(await farm.build(small.build)).toMatchObject({ state: 'running' });
    await to.beforeApplicationShutdown();
  });

  it('leaves all builds alone while there is room', async () => {
    const room = roomOf(withConfig(CONFIG, { dataDir: tmpdir(), minFreeBytes: 0 }));
    const source = Object.assign(await running(), { to: journalWith(CONFIG, room) });
    source.chunk(1, 'x'.repeat(900));
    await source.settled();
    await room.look();
    expect(await farm.build(source.build)).toMatchObject({ state: 'running' });
  });

  it('counts what an attempt used from batch to batch, and takes its end all the same', async () => {
    const source = await running();
    for (let n = 1; n <= 20; n++) {
      source.event(n, { kind: 'step.started', step: 0 });
      if (n % 7 === 0) await source.settled();
    }
    await source.settled();
    source.event(21, { kind: 'build.finished', result: 'success' });
    expect((await source.settled()).at(-1)).toEqual(source.ref('finished'));
    const other = await running();
    for (let n = 1; n <= 5; n++) {
      other.event(n, property(`p${n}`, 'x'));
      await other.settled();
    }
    other.event(6, property('p6', 'x'));
    expect(await other.settled()).toMatchObject([{ type: 'taken' }]);
  });

  it('takes names of properties that objects have of their own', async () => {
    const source = await running();
    source.event(1, property('__proto__', 'a'));
    source.event(2, property('constructor', 'b'));
    source.event(3, property('constructor', 'c'));
    await source.settled();
    const { properties } = await farm.row<{ properties: string }>(
      'SELECT properties::text AS properties FROM builds WHERE id = $1',
      source.build,
    );
    expect(properties).toBe('{"__proto__": "a", "constructor": "c"}');
  });

  it('takes nothing more of a step that has ended', async () => {
    const sent: ((source: Source, seq: number) => void)[] = [
      (source, seq) => source.chunk(seq, 'late', 3),
      (source, seq) => source.event(seq, finished({ log: end(3) })),
      (source, seq) => source.event(seq, { kind: 'step.started', step: 0 }),
    ];
    for (const [apart, late] of sent.flatMap((late) => [
      [true, late] as const,
      [false, late] as const,
    ])) {
      const source = await running();
      source.chunk(1, 'abc');
      source.event(2, finished({ log: end(3) }));
      if (apart) await source.settled();
      late(source, 3);
      expect((await source.settled()).at(-1)).toMatchObject({
        type: 'corrupt',
        problem: expect.stringContaining('has ended'),
      });
      const row = await farm.row(
        'SELECT log_bytes, log_sha256 FROM steps WHERE build_id = $1 AND index = 0',
        source.build,
      );
      expect(row).toEqual(apart ? { log_bytes: 3, log_sha256: end(3).sha256 } : expect.anything());
    }
  });
});
