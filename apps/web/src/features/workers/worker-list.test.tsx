/** @jest-environment jsdom */
import type { Worker } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { renderInPage } from '../../testing/in-page.js';
import { WorkerTable } from './worker-list.js';

const worker = (name: string, state: Worker['state']): Worker => ({
  id: name,
  name,
  state,
  labels: [],
  executor: 'docker',
  slots: 2,
  running: 1,
  version: '0.1.0',
  platform: null,
  connectedAt: null,
  lastSeenAt: '2026-01-01T00:00:00Z',
  registeredAt: '2026-01-01T00:00:00Z',
  diskFree: null,
  inodesFree: null,
  engineDiskFree: null,
  engineInodesFree: null,
  lowDisk: null,
});

it.each([
  ['suspect', /keeps its builds/],
  ['lost', /handed out again/],
] as const)('shows that a worker is %s, and what that means', (state, meaning) => {
  const { getByText } = renderInPage(
    <WorkerTable workers={[worker('box', state)]} onRevoke={undefined} />,
  );
  const shown = getByText(state);
  expect(shown.title).toMatch(meaning);
  const row = shown.closest('tr');
  expect(row?.textContent).toContain('box');
  expect(row?.textContent).toContain('1 of 2');
  // the page says since when, where that is not now
  expect(row?.querySelector('time')).not.toBeNull();
});
