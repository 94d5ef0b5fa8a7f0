/** @jest-environment jsdom */
import type { Worker } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { renderInPage } from '../../testing/in-page.js';
import { WorkerTable } from './worker-list.js';

const worker = (name: string, state: Worker['state'], its: Partial<Worker> = {}): Worker => ({
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
  quarantine: null,
  refusedLabels: [],
  spooled: null,
  ...its,
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

it('shows a quarantine with its reason, and how an admin ends it', () => {
  const reason = { code: 'engine-error', message: 'no engine' };
  const quarantine = { until: '2100-01-01T00:00:00.000Z', strikes: 3, reason };
  const platform = { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 };
  const workers = [worker('bad', 'quarantined', { platform, quarantine })];
  const { getByText, getByLabelText } = renderInPage(
    <WorkerTable workers={workers} onRevoke={() => undefined} />,
  );
  expect(getByText('quarantined').title).toMatch(/no builds for a while/);
  expect(getByText(/until 2100-01-01 00:00:00 UTC, after 3 .* no engine/)).toBeTruthy();
  expect(getByLabelText('Give bad builds again')).toBeTruthy();
});

it('shows how much output a worker has to send, when it is much and waited for', () => {
  const platform = { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 };
  const of = (name: string, state: Worker['state'], spooled: number | null) =>
    worker(name, state, { platform, spooled });
  const workers = [
    of('behind', 'online', 120 * 1024 ** 2),
    of('busy', 'online', 1024 ** 2 - 1),
    of('older', 'online', null),
    of('gone', 'offline', 120 * 1024 ** 2),
  ];
  const { getAllByText } = renderInPage(<WorkerTable workers={workers} onRevoke={undefined} />);
  const [shown, ...others] = getAllByText(/to send/);
  expect(others).toEqual([]);
  expect(shown?.textContent).toBe('120.0 MiB of output to send');
  expect(shown?.closest('tr')?.textContent).toContain('behind');
});
