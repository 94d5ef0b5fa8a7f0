import { expect, it } from '@jest/globals';
import type { JournalRecord } from './ingest.js';
import { PendingRecords, type JournalSource, type Pending } from './pending.js';

const source = (id: string): JournalSource => ({
  worker: { id, name: id },
  outcome() {},
  failed() {},
  drained() {},
});
const item = (of: JournalSource, seq: number, bytes: number): Pending => ({
  source: of,
  record: { seq } as JournalRecord,
  bytes,
  since: 0,
  checked: undefined,
});
const named = (batch: readonly Pending[]) =>
  batch.map(({ source: { worker }, record }) => `${worker.id}${record.seq}`);

it('gives each worker a share of a batch, whatever another one sends', () => {
  const pending = new PendingRecords();
  const [flood, calm, late] = [source('f'), source('c'), source('l')];
  for (let seq = 1; seq <= 1000; seq++) pending.add(item(flood, seq, 10));
  pending.add(item(calm, 1, 10));
  pending.add(item(calm, 2, 10));
  const most = { bytes: 100, records: 1000 };
  const first = named(pending.take(most));
  expect(first.filter((name) => name.startsWith('f'))).toEqual(['f1', 'f2', 'f3', 'f4', 'f5']);
  expect(first).toEqual(expect.arrayContaining(['c1', 'c2']));
  pending.add(item(late, 1, 10));
  expect(named(pending.take(most))).toContain('l1');
  // Alone it has the batch to itself, in order.
  expect(named(pending.take(most))).toHaveLength(10);
});

it('takes all that was added once, of each worker in order, in batches within their bounds', () => {
  const pending = new PendingRecords();
  const sources = ['a', 'b', 'c', 'd'].map(source);
  let state = 7;
  const next = (below: number) => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  const sent = new Map<string, number>();
  const got = new Map<string, number>();
  let count = 0;
  for (let turn = 0; turn < 300 || !pending.isEmpty; turn++) {
    if (turn < 300)
      for (let n = next(6); n > 0; n--) {
        const of = sources[next(4)] ?? source('x');
        const seq = (sent.get(of.worker.id) ?? 0) + 1;
        sent.set(of.worker.id, seq);
        pending.add(item(of, seq, 1 + next(30)));
      }
    const batch = pending.take({ bytes: 60, records: 4 });
    expect(batch.length).toBeLessThanOrEqual(4);
    const bytes = batch.reduce((sum, one) => sum + one.bytes, 0);
    expect(bytes).toBeLessThan(60 + 4 * 30);
    for (const { source: of, record } of batch) {
      expect(record.seq).toBe((got.get(of.worker.id) ?? 0) + 1);
      got.set(of.worker.id, record.seq);
      count += 1;
    }
    pending.settle(batch);
  }
  expect(got).toEqual(sent);
  expect(count).toBeGreaterThan(300);
  expect(pending.bytes).toBe(0);
});
