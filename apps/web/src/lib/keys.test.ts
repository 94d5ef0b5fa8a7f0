import type { FarmEvent } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { Refresher, keys, staleAfter } from './keys.js';

const event = (kind: string, rest: Partial<FarmEvent> = {}): FarmEvent => ({
  id: '1.1',
  kind,
  at: '2026-01-01T00:00:00Z',
  data: {},
  ...rest,
});

it('makes only the build old when one of its steps goes on', () => {
  expect(staleAfter(event('step.finished', { build: 4 }))).toEqual([keys.build(4)]);
});

it('makes lists, counts and the build old when a build ends', () => {
  const stale = staleAfter(event('build.finished', { build: 4, request: 9 }));
  expect(stale).toEqual(
    expect.arrayContaining([
      keys.builds,
      keys.builders,
      keys.workers,
      keys.build(4),
      keys.request(9),
    ]),
  );
});

it('makes the workers old when one comes or goes', () => {
  expect(staleAfter(event('worker.lost', { worker: 'w' }))).toEqual([keys.workers]);
});

it('ignores kinds that it does not know', () => {
  expect(staleAfter(event('something.new'))).toEqual([]);
});

it('refreshes a key once for many events, and again for what came meanwhile', async () => {
  const asked: string[] = [];
  const gates: (() => void)[] = [];
  const refresher = new Refresher((key) => {
    asked.push(JSON.stringify(key));
    return new Promise<void>((resolve) => gates.push(resolve));
  }, 0);
  const until = async (count: number) => {
    while (asked.length < count) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  refresher.add([keys.builds]);
  refresher.add([keys.builds, keys.workers]);
  await until(2);
  refresher.add([keys.builds]);
  expect(asked).toEqual(['["builds"]', '["workers"]']);
  for (const open of gates) open();
  await until(3);
  expect(asked).toEqual(['["builds"]', '["workers"]', '["builds"]']);
  gates.at(-1)?.();
});
