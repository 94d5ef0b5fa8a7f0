import { describe, expect, it } from '@jest/globals';
import { decideClosing, type Ending } from './closing.js';

const ENDING: Ending = {
  build: 1,
  epoch: 1,
  request: 2,
  builder: 'b',
  worker: 'w',
  attempts: 0,
  result: 'success',
  counted: true,
};
const reason = (code: string) => ({ code, message: 'why' });

describe('decideClosing', () => {
  it.each<[string, Partial<Ending>, { result: string; requeue: boolean }]>([
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
      'a dead engine is retried',
      { result: 'exception', reason: reason('engine-unavailable') },
      { result: 'exception', requeue: true },
    ],
    [
      'a missing image is not',
      { result: 'exception', reason: reason('image-unavailable') },
      { result: 'exception', requeue: false },
    ],
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
  ])('%s', (_, changes, expected) => {
    expect(decideClosing({ ...ENDING, ...changes })).toMatchObject(expected);
  });

  it('says why it gave up', () => {
    const closing = decideClosing({
      ...ENDING,
      result: 'retry',
      attempts: 2,
      reason: reason('worker-lost'),
    });
    expect(closing.reason).toEqual({
      code: 'worker-lost',
      message: 'why; given up after 3 attempts',
    });
  });
});
