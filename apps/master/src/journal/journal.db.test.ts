import { constants, crc32, deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildEvent, JournalEvent, LogFrame } from '@impgem/protocol';
import type { Claimant } from '../scheduling/index.js';
import { TestFarm, until } from '../scheduling/testing.js';
import { commitBatch } from './commit.js';
import { Journal, type JournalSource } from './journal.js';
import type { Outcome } from './ingest.js';

let farm: TestFarm;
let journal: Journal;
beforeAll(async () => {
  farm = await TestFarm.open();
  journal = new Journal(farm.db, farm.events);
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
    this.pending += journal.append(this, record as JournalEvent);
  }
  chunk(seq: number, text: string, offset = 0, changes: Partial<LogFrame> = {}): void {
    this.pending += journal.append(this, this.frame(seq, text, offset, changes));
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
const chunks = (build: number) =>
  farm.db.query(
    `SELECT step, byte_offset AS "offset", seq, stream, length, first_line AS line, data
     FROM log_chunks WHERE build_id = $1 ORDER BY step, byte_offset`,
    [build],
  );

describe('the journal', () => {
  it('takes a record that waited for one of another master', async () => {
    const source = await running();
    await farm.db.transaction(async (tx) => {
      const workerId = source.worker.id;
      const record = source.frame(1, 'hello');
      await commitBatch(tx, farm.events, [{ workerId, record, checked: { newlines: 0 } }]);
      source.chunk(2, ' world', 5);
      await until(async () => {
        const waiting = await farm.db.query(
          `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
        );
        return waiting.length > 0;
      });
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

  it('does not let one build that cannot be stored hold up the others', async () => {
    const bad = await running();
    const good = await running();
    // Postgres cannot store NUL in text.
    bad.event(1, { kind: 'property.set', name: 'x', value: 'a\0b' });
    good.event(1, { kind: 'build.started' });
    expect(await good.settled()).toEqual([good.ref('committed', 1)]);
    await bad.settled();
    expect(bad.failures).toBe(1);
  });
});
