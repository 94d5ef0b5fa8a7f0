import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { mostPayload } from '@impgem/protocol';
import { createHash, randomBytes } from 'node:crypto';
import { constants, inflateRawSync } from 'node:zlib';
import { Budget, type LogState, type NewRecord } from '../spool/index.js';
import { advance, NOTHING, type Progress } from '../spool/record.js';
import { StepLog } from './step-log.js';

type Write = ['stdout' | 'stderr', Uint8Array];

const attempt = { build: 1, epoch: 1 };
const roomy = new Budget(Infinity);
const FLUSH = { finishFlush: constants.Z_SYNC_FLUSH };

const begin: NewRecord = { kind: 'event', atMs: 0, event: { kind: 'step.started', step: 0 } };
const textOf = (records: readonly NewRecord[], stream: string): Buffer =>
  Buffer.concat(
    records.flatMap((record) =>
      record.kind === 'log' && record.frame.stream === stream
        ? [inflateRawSync(record.frame.payload, FLUSH)]
        : [],
    ),
  );
const stateOf = (records: readonly NewRecord[]): LogState | undefined =>
  [begin, ...records].reduce<Progress>(advance, NOTHING).open?.log;
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const all = (writes: readonly Write[], name: string) =>
  Buffer.concat(writes.filter(([stream]) => stream === name).map(([, bytes]) => bytes));

/** Lets a process write some of a log; what it got into the journal. */
async function write(
  writes: readonly (Write | ['system', Uint8Array])[],
  options: { from?: LogState; budget?: Budget; limit?: number; onLimit?: () => void } = {},
) {
  const records: NewRecord[] = [];
  const log = new StepLog({
    append: async (record) => void records.push(record),
    attempt,
    step: 0,
    zero: 0,
    budget: roomy,
    ...options,
  });
  for (const [stream, bytes] of writes) {
    if (stream === 'system') log.say(Buffer.from(bytes).toString());
    else await log.write(stream, bytes);
  }
  const sum = await log.end();
  return { records, sum, isExact: log.isExact };
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.tuple(fc.nat(80_000), fc.nat(255)).map(([size, by]) => new Uint8Array(size).fill(by)),
);
const output = fc.array(
  fc.tuple(fc.constantFrom<'stdout' | 'stderr'>('stdout', 'stderr'), bytes) as fc.Arbitrary<Write>,
  { maxLength: 8 },
);

/** The same bytes of each stream, in other pieces and another order between the streams. */
function recut(writes: readonly Write[], sizes: readonly number[]): Write[] {
  const rest = { stderr: all(writes, 'stderr'), stdout: all(writes, 'stdout') };
  const pieces: Write[] = [];
  for (let at = 0; rest.stdout.length + rest.stderr.length > 0; at++) {
    const stream = at % 2 === 0 ? 'stderr' : 'stdout';
    const size = sizes[at % sizes.length] ?? 1;
    if (rest[stream].length > 0) pieces.push([stream, rest[stream].subarray(0, size)]);
    rest[stream] = rest[stream].subarray(size);
  }
  return pieces;
}

describe('StepLog', () => {
  it('goes on where any number of processes left it, byte for byte', async () => {
    await fc.assert(
      fc.asyncProperty(
        output,
        fc.array(fc.nat(1000), { maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: 90_000 }), { minLength: 1, maxLength: 4 }),
        async (writes, kills, sizes) => {
          let kept: NewRecord[] = [];
          for (const kill of kills) {
            const said: ['system', Uint8Array] = ['system', Buffer.from(`process ${kill}`)];
            const from = stateOf(kept);
            const { records } = await write([said, ...recut(writes, sizes)], from ? { from } : {});
            const most = records.length;
            kept = [...kept, ...records.slice(0, most === 0 ? 0 : kill % (most + 1))];
          }
          const from = stateOf(kept);
          const last = await write(recut(writes, sizes.toReversed()), from ? { from } : {});
          expect(last.isExact).toBe(true);
          const records = [...kept, ...last.records];
          let offset = 0;
          for (const record of records) {
            if (record.kind !== 'log') continue;
            expect(record.frame.offset).toBe(offset);
            offset += record.frame.length;
          }
          expect(last.sum.bytes).toBe(offset);
          for (const name of ['stdout', 'stderr'] as const) {
            const truth = all(writes, name);
            expect(textOf(records, name).equals(truth)).toBe(true);
            expect(last.sum.sha256[name]).toBe(truth.length > 0 ? sha256(truth) : undefined);
          }
          const system = textOf(records, 'system');
          expect(last.sum.sha256.system).toBe(system.length > 0 ? sha256(system) : undefined);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('makes chunks that a master takes, and one gzip stream of them all', async () => {
    await fc.assert(
      fc.asyncProperty(output, fc.nat(70_000), async (writes, noise) => {
        const random: Write = ['stdout', randomBytes(noise)];
        const { records } = await write([random, ...writes]);
        const frames = records.flatMap((record) => (record.kind === 'log' ? [record.frame] : []));
        for (const { length, payload } of frames) {
          expect(length).toBeGreaterThan(0);
          expect(payload.length).toBeLessThanOrEqual(mostPayload(length));
          expect([...payload.subarray(-4)]).toEqual([0, 0, 0xff, 0xff]);
        }
        const stream = Buffer.concat([...frames.map(({ payload }) => payload), Buffer.of(3, 0)]);
        const whole = inflateRawSync(stream);
        expect(whole.length).toBe(frames.reduce((sum, { length }) => sum + length, 0));
      }),
      { numRuns: 30 },
    );
  });

  it('takes nothing more of a stream that is not what it was, and says so', async () => {
    const truth: Write[] = [
      ['stdout', Buffer.from('one\ntwo\n')],
      ['stderr', Buffer.from('err\n')],
    ];
    const { records } = await write(truth);
    const from = stateOf(records);
    if (!from) throw new Error('no log');
    for (const [what, again] of [
      ['shorter', [['stdout', Buffer.from('one\n')]]],
      ['other', [['stdout', Buffer.from('one\nTWO\nthree\n')]]],
      ['one stream only', [['stderr', Buffer.from('err\n')]]],
    ] satisfies [string, Write[]][]) {
      const other = await write(again, { from });
      expect({ what, isExact: other.isExact }).toEqual({ what, isExact: false });
      expect(textOf(other.records, 'stdout').toString()).toBe('');
      expect(other.sum.sha256.stdout).toBeUndefined();
    }
  });

  it('waits for room while some comes, and leaves output out when none does', async () => {
    let now = 0;
    const budget = new Budget(10, 1000, () => now);
    budget.take(10);
    const log = new StepLog({ append: async () => {}, attempt, step: 0, zero: 0, budget });
    let taken = false;
    const take = async (): Promise<void> => {
      await log.write('stdout', Buffer.from('kept'));
      taken = true;
    };
    const waits = take();
    await Promise.resolve();
    expect(taken).toBe(false);
    budget.give(1);
    await waits;
    budget.take(1);
    now = 2000;
    await log.write('stdout', Buffer.from('lost'.repeat(20_000)));
    const sum = await log.end();
    expect(sum.bytes).toBeLessThan(200);
    expect(sum.sha256.stdout).toBeUndefined();
  });

  it('goes on behind a gap too', async () => {
    let now = 0;
    const budget = new Budget(10, 0, () => now);
    const records: NewRecord[] = [];
    const append = async (record: NewRecord) => void records.push(record);
    const log = new StepLog({ append, attempt, step: 0, zero: 0, budget });
    await log.write('stdout', Buffer.alloc(70_000, 'a'));
    budget.take(10);
    now = 1;
    await log.write('stdout', Buffer.alloc(70_000, 'b'));
    budget.give(10);
    await log.write('stdout', Buffer.alloc(70_000, 'c'));
    await log.end();
    const from = stateOf(records);
    if (!from) throw new Error('no log');
    const rest: Write = [
      'stdout',
      Buffer.concat([
        Buffer.alloc(70_000, 'a'),
        Buffer.alloc(70_000, 'b'),
        Buffer.alloc(70_001, 'c'),
      ]),
    ];
    const again = await write([rest], { from });
    expect(again.isExact).toBe(true);
    expect(textOf(again.records, 'stdout').toString()).toBe('c');
    expect(again.sum.sha256.stdout).toBeUndefined();
  });

  it('is whole up to its limit, says where it ends, and has the checksums of what it has', async () => {
    await fc.assert(
      fc.asyncProperty(output, fc.integer({ min: 1, max: 150_000 }), async (writes, limit) => {
        let stops = 0;
        const { records, sum } = await write(writes, { limit, onLimit: () => (stops += 1) });
        const total = writes.reduce((size, [, bytes]) => size + bytes.length, 0);
        const [out, err] = [textOf(records, 'stdout'), textOf(records, 'stderr')];
        expect(out.length + err.length).toBe(Math.min(total, limit));
        for (const [name, got] of [
          ['stdout', out],
          ['stderr', err],
        ] as const) {
          expect(all(writes, name).subarray(0, got.length).equals(got)).toBe(true);
          expect(sum.sha256[name]).toBe(got.length > 0 ? sha256(got) : undefined);
        }
        const said = textOf(records, 'system').toString();
        expect(said.split('the log of the output ends here').length - 1).toBe(
          total > limit ? 1 : 0,
        );
        expect(stops > 0).toBe(total > limit);
        if (total <= limit) return;
        // At the place of the cut: no output stands behind it.
        const streams = records.flatMap((record) =>
          record.kind === 'log' ? [record.frame.stream] : [],
        );
        expect(streams.at(-1)).toBe('system');
        // Another process that goes on with it neither takes more nor says it again.
        const from = stateOf(records);
        const again = await write(writes, {
          limit,
          ...(from ? { from } : {}),
          onLimit: () => (stops = -1),
        });
        expect(again.records).toEqual([]);
        expect(stops).toBe(-1);
        expect(again.isExact).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('tells that it catches up with what it had, and when it has', async () => {
    const [out, err] = [new Uint8Array(1024 * 1024), new Uint8Array(512 * 1024)];
    const first = await write([
      ['stdout', out],
      ['stderr', err],
    ]);
    const records: NewRecord[] = [];
    const from = stateOf(first.records) as LogState;
    const append = async (record: NewRecord) => void records.push(record);
    const log = new StepLog({ append, attempt, step: 0, zero: 0, budget: roomy, from });
    log.sayRestarted();
    await log.write('stderr', err);
    await log.write('stdout', out.subarray(1));
    log.say('one byte is missing');
    await log.write('stdout', new Uint8Array(1));
    await log.write('stdout', Buffer.from('new'));
    await log.end();
    expect(log.isExact).toBe(true);
    expect(textOf(records, 'stdout').toString()).toBe('new');
    expect(textOf(records, 'system').toString().split('\n')).toEqual([
      'the worker was restarted; catching up: 1.5 MiB of output are read again before new output shows',
      'one byte is missing',
      'caught up: what follows is new',
      '',
    ]);
  });

  it('does not speak of little that is read again', async () => {
    const { records } = await write([['stdout', Buffer.from('few')]]);
    const from = stateOf(records) as LogState;
    const more: NewRecord[] = [];
    const append = async (record: NewRecord) => void more.push(record);
    const log = new StepLog({ append, attempt, step: 0, zero: 0, budget: roomy, from });
    log.sayRestarted();
    await log.write('stdout', Buffer.from('few'));
    await log.end();
    expect(textOf(more, 'system').toString()).toBe('the worker was restarted\n');
  });
});
