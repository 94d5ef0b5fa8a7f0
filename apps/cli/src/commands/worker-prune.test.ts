import type { Worker } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { leftovers } from './worker-prune.js';

const NOW = Date.parse('2026-01-10T00:00:00Z');
const object = (worker: string, expires: string | null) => ({
  kind: 'volume' as const,
  id: worker,
  name: worker,
  worker,
  role: 'workspace',
  build: 1,
  expires,
});
const known = (state: Worker['state']) => new Map([['known', { name: 'w', state }]]);
const PAST = '2026-01-01T00:00:00Z';
const FUTURE = '2026-02-01T00:00:00Z';

it('takes what a revoked worker left, expired or not', () => {
  expect(leftovers([object('gone', FUTURE)], known('online'), NOW)).toMatchObject([
    { id: 'gone', why: 'its worker was revoked' },
  ]);
});

it('takes what has expired of a worker that is away', () => {
  expect(leftovers([object('known', PAST)], known('offline'), NOW)).toMatchObject([
    { why: 'w is offline, and it expired 9 d ago' },
  ]);
  expect(leftovers([object('known', FUTURE)], known('offline'), NOW)).toEqual([]);
  expect(leftovers([object('known', null)], known('offline'), NOW)).toEqual([]);
});

it.each(['online', 'low-disk', 'draining', 'suspect', 'lost'] as const)(
  'takes nothing of a worker that is %s, whatever the labels say',
  (state) => {
    expect(leftovers([object('known', PAST)], known(state), NOW)).toEqual([]);
  },
);
