import { describe, expect, it } from '@jest/globals';
import type { BuildEvent, JournalEvent, LogFrame } from '@impgem/protocol';
import { ingest, type IngestItem, type JournalRecord, type LeaseRow } from './ingest.js';

const NOW = new Date('2026-01-01T12:00:00Z');
const LENGTH = 10;
const BOUNDS = {
  eventsPerBuild: 100,
  propertiesPerBuild: 10,
  propertyBytesPerBuild: 1000,
  stepLogBytes: 1e9,
  buildLogBytes: 1e9,
};

const lease = (seq: number, steps: LeaseRow['steps']): LeaseRow => ({
  build: 1,
  epoch: 1,
  workerId: 'w',
  seq,
  lost: false,
  cancel: null,
  request: 1,
  attempts: 0,
  failures: 0,
  retry: { infrastructure: 2, failure: 0 },
  builder: 'b',
  worker: 'w',
  createdAt: new Date('2026-01-01T11:59:00Z'),
  used: { events: 0, properties: 0, propertyBytes: 0, logStored: 0 },
  steps,
});
const event = (seq: number, event: BuildEvent, atMs = 0): JournalEvent =>
  ({ type: 'event', build: 1, epoch: 1, seq, atMs, event }) as JournalEvent;
const chunk = (seq: number, offset: number): LogFrame => ({
  kind: 'log',
  build: 1,
  epoch: 1,
  seq,
  step: 0,
  stream: 'stdout',
  offset,
  length: LENGTH,
  crc32: 0,
  atMs: 0,
  payload: new Uint8Array([seq]),
});
const item = (record: JournalRecord, workerId = 'w'): IngestItem => ({
  workerId,
  record,
  checked: 'kind' in record ? { newlines: 1 } : undefined,
});

/** A journal of `chunks` chunks, and its end. */
function journal(chunks: number): JournalRecord[] {
  const log = { bytes: chunks * LENGTH, sha256: {} };
  return [
    event(1, { kind: 'build.started' }),
    event(2, { kind: 'step.started', step: 0 }),
    ...Array.from({ length: chunks }, (_, n) => chunk(3 + n, n * LENGTH)),
    event(3 + chunks, { kind: 'step.finished', step: 0, result: 'success', log }),
    event(4 + chunks, { kind: 'build.finished', result: 'success' }),
  ];
}

/** Numbers that look random and are the same for the same seed. */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

describe('ingest', () => {
  it.each(Array.from({ length: 50 }, (_, seed) => seed))(
    'applies each record once and in order, whatever is sent again, early or late (seed %i)',
    (seed) => {
      const roll = dice(seed + 1);
      const records = journal(1 + roll(20));
      let row = lease(0, [[0, 'one', 'run', 0, 0, false]]);
      const stored: { seq: number; offset: number; line: number }[] = [];
      const events: string[] = [];
      let endings = 0;
      for (let turn = 0; endings === 0; turn++) {
        expect(turn).toBeLessThan(1000);
        // Batches of runs that begin anywhere around what is committed.
        const from = Math.max(0, row.seq - 2 + roll(4));
        const sent = Array.from({ length: 1 + roll(3) }, () => {
          const start = Math.min(records.length - 1, from + roll(3));
          return records.slice(start, start + 1 + roll(6));
        }).flat();
        const effects = ingest(
          sent.map((record) => item(record)),
          [row],
          NOW,
          BOUNDS,
        );
        stored.push(...effects.chunks);
        events.push(...effects.events.map(({ kind }) => kind));
        endings += effects.endings.length;
        const [step] = effects.steps;
        const steps: LeaseRow['steps'] = step
          ? [[0, 'one', 'run', step.logBytes, step.logLines, step.state === 'finished']]
          : row.steps;
        row = lease(effects.seqs[0]?.seq ?? row.seq, steps);
      }
      const chunks = records.length - 4;
      expect(stored.map(({ seq, offset, line }) => [seq, offset, line])).toEqual(
        Array.from({ length: chunks }, (_, n) => [3 + n, n * LENGTH, n]),
      );
      expect(events).toEqual(['build.started', 'step.started', 'step.finished']);
      expect(endings).toBe(1);
    },
  );

  it('puts times by our clock, and never into the future', () => {
    const started = event(1, { kind: 'build.started' }, 30_000);
    const step = event(2, { kind: 'step.started', step: 0 }, 9_000_000);
    const row = lease(0, [[0, 'one', 'run', 0, 0, false]]);
    const { builds, steps } = ingest([item(started), item(step)], [row], NOW, BOUNDS);
    expect(builds[0]?.startedAt).toEqual(new Date('2026-01-01T11:59:30Z'));
    expect(steps[0]?.startedAt).toEqual(NOW);
  });

  it('tells the end to the connection that sent it last', () => {
    const [started, ended] = journal(0).slice(-2);
    const row = lease(2, [[0, 'one', 'run', 0, 0, false]]);
    // A worker that lost its first connection while the database was away, and sends again.
    const sent = [started, ended, started, ended].map((record) => item(record as JournalRecord));
    const { outcomes, endings } = ingest(sent, [row], NOW, BOUNDS);
    expect(outcomes.map(({ item: one, outcome: { type } }) => [sent.indexOf(one), type])).toEqual([
      [3, 'committed'],
      [3, 'finished'],
    ]);
    expect(endings).toHaveLength(1);
  });

  it("tells only the thief when two workers send the same build's records", () => {
    const started = event(1, { kind: 'build.started' });
    const { outcomes } = ingest(
      [item(started, 'thief'), item(started)],
      [lease(0, [])],
      NOW,
      BOUNDS,
    );
    expect(outcomes.map(({ item: { workerId }, outcome: { type } }) => [workerId, type])).toEqual([
      ['thief', 'taken'],
      ['w', 'committed'],
    ]);
  });
});
