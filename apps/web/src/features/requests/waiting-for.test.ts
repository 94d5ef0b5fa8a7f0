import type { Worker } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { waitingFor } from './waiting-for.js';

const worker = (rest: Partial<Worker>): Worker => ({
  id: '00000000-0000-4000-8000-000000000000',
  name: 'w',
  state: 'online',
  labels: ['os=linux'],
  executor: 'docker',
  slots: 2,
  running: 0,
  version: '0.1.0',
  platform: null,
  connectedAt: null,
  lastSeenAt: null,
  registeredAt: '2026-01-01T00:00:00Z',
  diskFree: null,
  inodesFree: null,
  engineDiskFree: null,
  engineInodesFree: null,
  lowDisk: null,
  quarantine: null,
  refusedLabels: [],
  spooled: null,
  ...rest,
});

it('says that no worker is connected', () => {
  expect(waitingFor([], [])).toMatchObject({ none: true });
  expect(waitingFor([], [worker({ state: 'lost' })]).text).toMatch(/No worker is connected/);
});

it('says which disk keeps the only workers from taking it', () => {
  const full = worker({ state: 'low-disk', lowDisk: '/data has 5 MiB free' });
  expect(waitingFor([], [full])).toEqual({
    text: 'No worker takes work: w: /data has 5 MiB free.',
    none: true,
  });
});

it('says that no worker has the labels', () => {
  expect(waitingFor(['gpu'], [worker({})]).text).toMatch(/labels/);
});

it('says that all that could are busy', () => {
  expect(waitingFor(['os=linux'], [worker({ running: 2 })])).toMatchObject({ none: false });
  expect(waitingFor(['os=linux'], [worker({ running: 2 })]).text).toMatch(/busy/);
});

it('says that one is about to take it', () => {
  expect(waitingFor(['os=linux'], [worker({ running: 1 })]).text).toMatch(/about to/);
});
