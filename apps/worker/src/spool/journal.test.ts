import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Assign, BuildEvent } from '@impgem/protocol';
import { decodeFrame } from '@impgem/protocol';
import * as fc from 'fast-check';
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Budget } from './budget.js';
import { Journal, type JournalRecord } from './journal.js';
import type { NewRecord } from './record.js';

const assign = { type: 'assign', build: 7, epoch: 2 } as Assign;
const meta = { assign, slot: 0, startedAt: 1 };
const MiB = 1024 * 1024;

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'impgem-spool-'));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

const event = (value: BuildEvent): NewRecord => ({ kind: 'event', atMs: 5, event: value });
const chunk = (payload: string | Uint8Array, offset = 0): NewRecord => ({
  kind: 'log',
  rawEnd: offset + payload.length,
  maskedEnd: offset + payload.length,
  frame: {
    kind: 'log',
    build: 7,
    epoch: 2,
    step: 0,
    stream: 'stdout',
    offset,
    length: payload.length,
    crc32: 1,
    atMs: 3,
    payload: Buffer.from(payload),
  },
});
const open = (limit = 64 * MiB, segmentBytes?: number) =>
  Journal.create(join(root, '7-2'), meta, new Budget(limit), segmentBytes);

async function reopen(segmentBytes?: number, folder = join(root, '7-2')) {
  const found = await Journal.reopen(folder, new Budget(64 * MiB), segmentBytes);
  if (!found) throw new Error('no journal');
  return found;
}

/** What stands in a record, without sizes. */
const content = (record: JournalRecord) => {
  if (record.kind === 'event') return { seq: record.seq, event: record.event };
  const frame = decodeFrame(record.bytes);
  return { seq: record.seq, text: Buffer.from(frame.payload).toString(), offset: frame.offset };
};

async function all(journal: Journal, from = journal.first, step = 100) {
  const records: JournalRecord[] = [];
  for (let next = from; ;) {
    const more = await journal.read(next, step);
    if (more.length === 0) return records.map(content);
    records.push(...more);
    next = (more.at(-1)?.seq ?? 0) + 1;
  }
}

describe('Journal', () => {
  it('numbers records from 1 and reads them back from any number on', async () => {
    const journal = await open();
    await journal.append(event({ kind: 'build.started' }));
    await Promise.all(['a', 'bb', 'ccc'].map((text) => journal.append(chunk(text))));
    expect(journal.seq).toBe(4);
    expect(await all(journal, 3)).toEqual([
      { seq: 3, text: 'bb', offset: 0 },
      { seq: 4, text: 'ccc', offset: 0 },
    ]);
    expect(await all(journal)).toHaveLength(4);
    expect(await journal.read(5, 100)).toEqual([]);
  });

  it('goes on after a reopening where it stood', async () => {
    const before = await open();
    await before.append(event({ kind: 'build.started' }));
    await before.append(event({ kind: 'step.started', step: 0 }));
    await before.append(chunk('hello'));
    await before.close();
    const { journal, cut } = await reopen();
    expect(cut).toBe(0);
    expect(journal.meta).toEqual(meta);
    expect(journal.progress).toEqual({
      started: true,
      finished: false,
      endings: [],
      open: {
        atMs: 5,
        log: {
          bytes: 5,
          ends: { stdout: { raw: 5, masked: 5, unbroken: 5, crc32: 1 } },
          system: '',
        },
      },
    });
    expect(await journal.append(chunk('x', 5))).toBe(4);
    expect(await all(journal)).toHaveLength(4);
  });

  it('gives files back that are acknowledged, and still knows what they told', async () => {
    const budget = new Budget(64 * MiB);
    const journal = await Journal.create(join(root, '7-2'), meta, budget, 1000);
    await journal.append(event({ kind: 'build.started' }));
    await journal.append(event({ kind: 'step.started', step: 0 }));
    for (let at = 0; at < 50; at += 1) await journal.append(chunk('0123456789', at * 10));
    const before = budget.used;
    await journal.trim(40);
    expect(budget.used).toBeLessThan(before);
    expect(journal.first).toBeGreaterThan(30);
    expect(journal.first).toBeLessThanOrEqual(41);
    await expect(journal.read(1, 100)).rejects.toThrow('not in the spool any more');
    expect(await all(journal, 41)).toHaveLength(12);
    await journal.close();
    const again = (await reopen(1000)).journal;
    expect(again.seq).toBe(52);
    expect(again.progress).toMatchObject({ started: true, open: { log: { bytes: 500 } } });
    await again.destroy();
    expect(await readdir(root)).toEqual([]);
  });

  it('gives all of its quota back when all is acknowledged, once', async () => {
    const budget = new Budget(64 * MiB);
    const journal = await Journal.create(join(root, '7-2'), meta, budget, 1000);
    for (let at = 0; at < 30; at += 1) await journal.append(chunk('0123456789', at * 10));
    await journal.trim(29);
    expect(budget.used).toBeGreaterThan(0);
    await journal.trim(30);
    expect(budget.used).toBe(0);
    await journal.append(chunk('more', 300));
    expect(budget.used).toBeGreaterThan(0);
    await journal.destroy();
    expect(budget.used).toBe(0);
  });

  it('knows how many bytes are not acknowledged, also of a file that is so in part', async () => {
    const journal = await open();
    expect(journal.unacknowledged).toBe(0);
    for (let at = 0; at < 100; at += 1) await journal.append(chunk('0123456789', at * 10));
    const whole = journal.unacknowledged;
    expect(whole).toBeGreaterThan(1000);
    await journal.trim(75);
    expect(journal.unacknowledged).toBe(Math.round(whole / 4));
    await journal.trim(100);
    expect(journal.unacknowledged).toBe(0);
    await journal.append(chunk('more', 1000));
    expect(journal.unacknowledged).toBeGreaterThan(0);
    expect(journal.unacknowledged).toBeLessThan(200);
    await journal.close();
    // what was acknowledged is known again with the next welcome
    const again = (await reopen()).journal;
    expect(again.unacknowledged).toBeGreaterThan(whole);
    await again.trim(101);
    expect(again.unacknowledged).toBe(0);
  });

  it('cuts off a record that was torn at any of its bytes, and nothing else', async () => {
    const journal = await open();
    await journal.append(event({ kind: 'build.started' }));
    await journal.append(chunk('whole'));
    const [name = ''] = (await readdir(journal.folder)).filter((file) => file.endsWith('.seg'));
    const path = join(journal.folder, name);
    const sound = (await readFile(path)).length;
    await journal.append(chunk('torn, torn, torn'));
    await journal.close();
    const bytes = await readFile(path);
    for (let length = sound; length < bytes.length; length += 1) {
      await writeFile(path, bytes);
      await truncate(path, length);
      const { journal: again, cut } = await reopen();
      expect(cut).toBe(length - sound);
      expect(again.seq).toBe(2);
      expect(await again.append(chunk('new'))).toBe(3);
      expect((await all(again)).at(-1)).toEqual({ seq: 3, text: 'new', offset: 0 });
      await again.close();
    }
  });

  it('keeps a sound prefix whatever byte is damaged', async () => {
    const journal = await open(64 * MiB, 400);
    for (let at = 0; at < 12; at += 1) await journal.append(chunk(`line ${at}`, at));
    const expected = await all(journal);
    await journal.close();
    const names = (await readdir(journal.folder)).filter((file) => file.endsWith('.seg')).sort();
    const files = await Promise.all(names.map((name) => readFile(join(journal.folder, name))));
    await fc.assert(
      fc.asyncProperty(
        fc.nat(names.length - 1),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (which, where, flip) => {
          for (const [at, name] of names.entries()) {
            const bytes = Buffer.from(files[at] ?? []);
            if (at === which)
              bytes[where % bytes.length] = (bytes[where % bytes.length] ?? 0) ^ flip;
            await writeFile(join(journal.folder, name), bytes);
          }
          const again = (await reopen(400)).journal;
          const left = await all(again, 1);
          expect(left).toEqual(expected.slice(0, left.length));
          expect(again.seq).toBe(left.length);
          await again.close();
        },
      ),
      { numRuns: 60 },
    );
  });

  it('keeps what comes, also when its quota is used up', async () => {
    const journal = await Journal.create(join(root, '7-2'), meta, new Budget(1));
    await journal.append(chunk('x'.repeat(100)));
    expect(await journal.append(event({ kind: 'build.started' }))).toBe(2);
  });

  it('remembers what was launched last, and that it is stopped, and goes by no note that was cut off', async () => {
    const journal = await open();
    expect((await reopen()).journal.launch).toBeUndefined();
    await journal.noteLaunch({ step: 1, ref: 'abc' });
    await journal.noteLaunch({ step: 2, ref: 'def' });
    expect((await reopen()).journal.launch).toEqual({ step: 2, ref: 'def' });
    const stop = { kind: 'halt', reason: { code: 'draining', message: '' }, whole: true } as const;
    await journal.noteStop(stop);
    expect((await reopen()).journal.launch).toEqual({ step: 2, ref: 'def', stop });
    await appendFile(join(journal.folder, 'meta.json'), '\n{"step":');
    expect((await reopen()).journal.launch).toEqual({ step: 2, ref: 'def', stop });
    await writeFile(join(journal.folder, 'meta.json'), `${JSON.stringify(meta)}\n{"step":`);
    expect((await reopen()).journal.launch).toBeUndefined();
    await journal.close();
  });

  it('lives with any damage to any of its files', async () => {
    const journal = await open(64 * MiB, 300);
    for (let at = 0; at < 8; at += 1) await journal.append(chunk(`line ${at}`, at));
    await journal.noteLaunch({ step: 0, ref: 'abc' });
    await journal.close();
    const names = await readdir(journal.folder);
    const files = await Promise.all(names.map((name) => readFile(join(journal.folder, name))));
    const damage = fc.oneof(
      fc.nat().map((to) => (bytes: Buffer) => bytes.subarray(0, to % (bytes.length + 1))),
      fc
        .uint8Array({ maxLength: 60 })
        .map((junk) => (bytes: Buffer) => Buffer.concat([bytes, junk])),
      fc
        .tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 60 }))
        .map(([at, junk]) => (bytes: Buffer) => {
          const copy = Buffer.from(bytes);
          copy.set(junk.subarray(0, copy.length - (at % copy.length)), at % copy.length);
          return copy;
        }),
      fc.uint8Array({ maxLength: 200 }).map((junk) => () => Buffer.from(junk)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(), damage), { minLength: 1, maxLength: 3 }),
        async (damages) => {
          await mkdir(journal.folder, { recursive: true });
          const bytes: Buffer[] = files.map((file) => Buffer.from(file));
          for (const [which, harm] of damages) {
            const at = which % bytes.length;
            if ((bytes[at]?.length ?? 0) > 0) bytes[at] = harm(bytes[at] ?? Buffer.alloc(0));
          }
          for (const [at, name] of names.entries())
            await writeFile(join(journal.folder, name), bytes[at] ?? '');
          const found = await Journal.reopen(journal.folder, new Budget(64 * MiB), 300);
          if (!found) return expect(await readdir(root)).toEqual([]);
          const records = await all(found.journal, found.journal.first, 1);
          expect(found.journal.seq).toBe(found.journal.first + records.length - 1);
          expect(await found.journal.append(chunk('new'))).toBe(found.journal.seq);
          await found.journal.close();
          await rm(journal.folder, { recursive: true });
        },
      ),
      { numRuns: 80 },
    );
  });

  it('removes a folder that never became a journal', async () => {
    const journal = await open();
    await journal.append(event({ kind: 'build.started' }));
    await journal.close();
    await rm(join(journal.folder, 'meta.json'));
    expect(await Journal.reopen(journal.folder, new Budget(1))).toBeUndefined();
    expect(await readdir(root)).toEqual([]);
  });

  it('reads the same whatever the sizes of records, files and reads', async () => {
    const sizes = fc.array(fc.nat(3000), { minLength: 1, maxLength: 40 });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.integer({ min: 1, max: 5000 }),
        fc.nat(9000),
        async (list, segment, step) => {
          round += 1;
          const folder = join(root, `${round}-1`);
          const own = { ...meta, assign: { ...assign, build: round, epoch: 1 } };
          const journal = await Journal.create(folder, own, new Budget(64 * MiB), segment);
          const texts = list.map((size, at) => String(at).repeat(size).slice(0, size));
          await Promise.all(texts.map((text) => journal.append(chunk(text))));
          const live = await all(journal, 1, step + 1);
          await journal.close();
          const later = await all((await reopen(segment, folder)).journal, 1, step + 1);
          expect(live.map((record) => 'text' in record && record.text)).toEqual(texts);
          expect(later).toEqual(live);
        },
      ),
      { numRuns: 25 },
    );
  });
});
