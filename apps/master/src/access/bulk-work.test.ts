import { expect, it } from '@jest/globals';
import { BulkWork } from './bulk-work.js';

async function* broken(): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(1_000_000, 1);
  yield Buffer.alloc(1, 2);
  throw new Error('broken');
}

/** Keeps the thread for a slice, and one millisecond more. */
function work(): void {
  const end = performance.now() + 6;
  let rounds = 0;
  while (performance.now() < end) rounds += 1;
  expect(rounds).toBeGreaterThan(0);
}

it('runs one slice in each turn of the event loop, by callers in turn', async () => {
  const bulk = new BulkWork();
  const ran: string[] = [];
  let turn = 0;
  const turns: number[] = [];
  let over = false;
  const count = () => {
    turn += 1;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  const busy = async (caller: string, name: string): Promise<void> => {
    const pause = bulk.slices(caller);
    work();
    for (let slice = 0; slice < 3; slice++) {
      await pause();
      ran.push(name);
      turns.push(turn);
      work();
    }
  };
  await Promise.all([busy('a', 'a1'), busy('a', 'a2'), busy('a', 'a3'), busy('b', 'b1')]);
  over = true;
  expect(new Set(turns).size).toBe(turns.length);
  // b alternates with the three of a as long as it has something to do
  expect(ran.slice(0, 6).filter((name) => name === 'b1')).toHaveLength(3);
});

it('passes on what it paces, and the end of it', async () => {
  const seen: number[] = [];
  const read = async () => {
    for await (const { length } of new BulkWork().paced(broken(), 'a')) seen.push(length);
  };
  await expect(read()).rejects.toThrow('broken');
  expect(seen).toEqual([1_000_000, 1]);
});
