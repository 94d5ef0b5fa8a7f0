import { describe, expect, it } from '@jest/globals';
import { shownState, type WorkerFacts } from './worker-state.js';

const NOW = new Date('2026-01-01T12:00:00Z');
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const ROW: WorkerFacts = {
  revoked_at: null,
  connected_at: ago(1000),
  disconnected_at: null,
  last_seen_at: ago(10),
  draining: false,
  low_disk: null,
  quarantined_until: null,
  running: 1,
};

describe('the state of a worker', () => {
  it.each<[string, Partial<WorkerFacts>, 'suspect' | 'low-disk' | undefined, string]>([
    ['is online while its master hears it', {}, undefined, 'online'],
    ['is draining when it said so', { draining: true }, undefined, 'draining'],
    ['is in quarantine until then', { quarantined_until: ago(-1) }, undefined, 'quarantined'],
    ['is online afterwards', { quarantined_until: ago(1) }, undefined, 'online'],
    [
      'is offline rather than in quarantine',
      { quarantined_until: ago(-1), disconnected_at: ago(5), running: 0 },
      undefined,
      'offline',
    ],
    ['is low on disk when it said so', { low_disk: 'full' }, undefined, 'low-disk'],
    [
      'is draining rather than low on disk',
      { draining: true, low_disk: 'full' },
      undefined,
      'draining',
    ],
    [
      'is offline, however full its disk was',
      { low_disk: 'full', disconnected_at: ago(5), running: 0 },
      undefined,
      'offline',
    ],
    ['is what its own connection knows', {}, 'suspect', 'suspect'],
    ['is revoked above all', { revoked_at: ago(1) }, 'suspect', 'revoked'],
    [
      'is suspect just after it has left builds behind',
      { disconnected_at: ago(5) },
      undefined,
      'suspect',
    ],
    ['is lost later', { disconnected_at: ago(50), last_seen_at: ago(50) }, undefined, 'lost'],
    [
      'is offline when it left nothing',
      { disconnected_at: ago(5), running: 0 },
      undefined,
      'offline',
    ],
    ['is lost with a master that died', { last_seen_at: ago(100) }, undefined, 'lost'],
    [
      'is offline when it never came',
      { connected_at: null, last_seen_at: null, running: 0 },
      undefined,
      'offline',
    ],
  ])('%s', (_, changes, here, state) => {
    expect(shownState({ ...ROW, ...changes }, NOW, here)).toBe(state);
  });
});
