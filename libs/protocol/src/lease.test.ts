import { describe, expect, it } from '@jest/globals';
import { DEFAULT_RETRY } from '@impgem/pipeline';
import { decideClosing, holds, LeaseClock, type AttemptEnd } from './lease.js';
import { REFUSALS_MOST } from './standing.js';

const END: AttemptEnd = {
  attempts: 0,
  failures: 0,
  retry: DEFAULT_RETRY,
  result: 'success',
  counted: true,
};
const reason = (code: string) => ({ code, message: 'why' });

describe('decideClosing', () => {
  it.each<[string, Partial<AttemptEnd>, { result: string; requeue: boolean }]>([
    ['success ends the request', {}, { result: 'success', requeue: false }],
    ['failure is not retried', { result: 'failure' }, { result: 'failure', requeue: false }],
    ['retry is retried', { result: 'retry' }, { result: 'retry', requeue: true }],
    [
      'the third retry gives up',
      { result: 'retry', attempts: 2 },
      { result: 'exception', requeue: false },
    ],
    [
      'an attempt that never ran is retried again and again',
      { result: 'retry', attempts: 2, counted: false },
      { result: 'retry', requeue: true },
    ],
    [
      'a refusal is tried again, though no attempt is left',
      { result: 'retry', attempts: 2, counted: false, refusals: REFUSALS_MOST - 2 },
      { result: 'retry', requeue: true },
    ],
    [
      'the last refusal ends it',
      { result: 'retry', counted: false, refusals: REFUSALS_MOST - 1 },
      { result: 'exception', requeue: false },
    ],
    ...['engine-unavailable', 'engine-error', 'worker-error', 'build-overdue'].map(
      (code): [string, Partial<AttemptEnd>, { result: string; requeue: boolean }] => [
        `an exception for ${code} is retried`,
        { result: 'exception', reason: reason(code) },
        { result: 'exception', requeue: true },
      ],
    ),
    ...['image-unavailable', 'source-unavailable', 'policy', 'unheard-of'].map(
      (code): [string, Partial<AttemptEnd>, { result: string; requeue: boolean }] => [
        `an exception for ${code} is not`,
        { result: 'exception', reason: reason(code) },
        { result: 'exception', requeue: false },
      ],
    ),
    [
      'a cancel wins over a retry',
      { result: 'retry', cancel: reason('cancelled') },
      { result: 'cancelled', requeue: false },
    ],
    [
      'a build that was done before it saw the cancel keeps its result',
      { result: 'failure', cancel: reason('cancelled') },
      { result: 'failure', requeue: false },
    ],
    [
      'a failure is retried when its builder says so',
      { result: 'failure', retry: { infrastructure: 0, failure: 1 } },
      { result: 'failure', requeue: true },
    ],
    [
      'a failure is retried so often and no more',
      { result: 'failure', attempts: 1, failures: 1, retry: { infrastructure: 0, failure: 1 } },
      { result: 'failure', requeue: false },
    ],
    [
      'a failure of a cancelled build is not retried',
      {
        result: 'failure',
        cancel: reason('cancelled'),
        retry: { infrastructure: 0, failure: 1 },
      },
      { result: 'failure', requeue: false },
    ],
    [
      'failures do not use up the retries of lost attempts',
      { result: 'retry', attempts: 2, failures: 2, retry: { infrastructure: 1, failure: 3 } },
      { result: 'retry', requeue: true },
    ],
    [
      'lost attempts do not use up the retries of failures',
      { result: 'failure', attempts: 2, retry: { infrastructure: 2, failure: 1 } },
      { result: 'failure', requeue: true },
    ],
    [
      'no retry at all is possible',
      { result: 'retry', retry: { infrastructure: 0, failure: 0 } },
      { result: 'exception', requeue: false },
    ],
  ])('%s', (_, changes, expected) => {
    expect(decideClosing({ ...END, ...changes })).toMatchObject(expected);
  });

  it('says why it gave up', () => {
    const why = { result: 'retry', reason: reason('worker-lost') } as const;
    expect(decideClosing({ ...END, ...why, attempts: 2 }).reason).toEqual({
      code: 'worker-lost',
      message: 'why; given up after 3 attempts',
    });
    const once = { retry: { infrastructure: 0, failure: 0 } };
    expect(decideClosing({ ...END, ...why, ...once }).reason?.message).toBe(
      'why; given up after 1 attempt',
    );
  });

  it('keeps the lease of a silent holder only while the request waits', () => {
    const lost = { ...END, result: 'retry', lost: true } as const;
    expect(decideClosing(lost).lost).toBe(true);
    expect(decideClosing({ ...lost, attempts: 2 }).lost).toBe(false);
  });
});

describe('holds', () => {
  const lease = { build: 1, epoch: 2, workerId: 'w', lost: false };
  it('is of the live lease, its worker and its epoch alone', () => {
    expect(holds(lease, 'w', { build: 1, epoch: 2 })).toBe(true);
    expect(holds(lease, 'v', { build: 1, epoch: 2 })).toBe(false);
    expect(holds(lease, 'w', { build: 1, epoch: 1 })).toBe(false);
    expect(holds(lease, 'w', { build: 2, epoch: 2 })).toBe(false);
    expect(holds({ ...lease, lost: true }, 'w', { build: 1, epoch: 2 })).toBe(false);
  });
});

describe('LeaseClock', () => {
  it('counts while looks succeed in time, and afresh after one that failed or came late', () => {
    const clock = new LeaseClock(5000);
    expect(clock.look(1_000_000)).toBe(0);
    expect(clock.look(1_005_000)).toBe(5000);
    expect(clock.look(1_010_000)).toBe(10_000);
    clock.failed();
    expect(clock.look(1_015_000)).toBe(0);
    expect(clock.look(1_035_000)).toBe(20_000);
    expect(clock.look(1_055_001)).toBe(0);
    expect(clock.answered(20_000)).toBe(true);
    expect(clock.answered(20_001)).toBe(false);
  });

  it('begins when the first look is answered, since nobody was written down as heard before', () => {
    const clock = new LeaseClock(5000);
    expect(clock.look(0)).toBe(0);
    expect(clock.answered(16_000)).toBe(true);
    expect(clock.look(20_000)).toBe(4000);
    expect(clock.answered(3000)).toBe(true);
    expect(clock.look(25_000)).toBe(9000);
  });
});
