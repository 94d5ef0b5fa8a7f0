import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import type { LogFrame } from './data-frames.js';
import type { WorkerMessage } from './messages.js';
import type { MasterEvent } from './master-machine-state.js';
import { acceptWorker, decideMaster } from './master-machine.js';
import { keyOf } from './worker-machine-state.js';

const reason = { code: 'stale', message: '' };
const ref = fc.record({
  build: fc.integer({ min: 1, max: 4 }),
  epoch: fc.integer({ min: 1, max: 2 }),
});
const seq = fc.integer({ min: 0, max: 9 });
const message = (plain: object): MasterEvent => ({
  type: 'message',
  message: plain as WorkerMessage,
});

/** Anything that a worker may send, and anything that the master around may say. */
const event: fc.Arbitrary<MasterEvent> = fc.oneof(
  fc.constantFrom<MasterEvent>(
    message({ type: 'hello', builds: [] }),
    message({ type: 'credit', add: 2 }),
    message({ type: 'heartbeat', running: 0, diskFree: 1 }),
    { type: 'heard' },
    { type: 'tick' },
    { type: 'deaf', deaf: true },
    { type: 'deaf', deaf: false },
  ),
  // Rare, since they end the interesting part.
  {
    weight: 1,
    arbitrary: fc.constantFrom<MasterEvent>({ type: 'closed' }, message({ type: 'drain' })),
  },
  fc.array(ref, { maxLength: 2 }).map((refs): MasterEvent => ({
    type: 'greeted',
    welcome: {} as never,
    verdicts: refs.map((one) => ({ ...one, verdict: 'continue', seq: 0, cancel: false })),
  })),
  ref.map((one): MasterEvent => ({
    type: 'assigned',
    assignments: [{ ...one, plan: {} as never }],
  })),
  fc.tuple(ref, seq).map(([one, seq]) => message({ type: 'event', ...one, seq, event: {} })),
  ref.map((one) => message({ type: 'refuse', ...one, reason })),
  ref.map((one): MasterEvent => ({ type: 'frame', frame: { kind: 'log', ...one } as LogFrame })),
  fc.tuple(ref, seq).map(([one, seq]): MasterEvent => ({ type: 'committed', ...one, seq })),
  ref.map((one): MasterEvent => ({ type: 'finished', ...one })),
  ref.map((one): MasterEvent => ({ type: 'taken', ...one, reason })),
  ref.map((one): MasterEvent => ({ type: 'cancel', ...one, reason })),
);

describe('whatever happens to a worker connection', () => {
  it('works only on what is held, spends no credit that is not there, and is silent once closed', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.nat(20_000)), { maxLength: 60 }), (events) => {
        let state = acceptWorker(0);
        let now = 0;
        for (const [event, wait] of events) {
          now += wait;
          const before = state;
          const { state: after, commands } = decideMaster(before, event, now);
          state = after;
          if (before.phase === 'closed') expect(commands).toEqual([]);
          expect(after.credit).toBeGreaterThanOrEqual(0);
          for (const command of commands) {
            if (command.type === 'append')
              expect(before.attempts.get(keyOf(command.record))?.state).toBe('held');
            if (command.type === 'close') expect(after.phase).toBe('closed');
            if (command.type === 'send' && command.message.type !== 'welcome')
              expect(['held', 'gone']).toContain(after.attempts.get(keyOf(command.message))?.state);
          }
          // An attempt is released, stopped or refused once.
          const ended = commands.filter(
            (command) =>
              command.type === 'give-back' ||
              (command.type === 'send' && /release|stop/.test(command.message.type)),
          );
          if (ended.length > 0 && 'build' in event)
            expect(before.attempts.get(keyOf(event))?.state).toBe('held');
        }
      }),
      { numRuns: 300 },
    );
  });
});
