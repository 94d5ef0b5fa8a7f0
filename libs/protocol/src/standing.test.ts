import { describe, expect, it } from '@jest/globals';
import { HOLD_BACK_MS, markOf, nthOf, PAUSES_MS, QUARANTINE_STRIKES } from './standing.js';

const reason = (code: string) => ({ code, message: 'why' });

describe('what the end of an attempt says of its worker', () => {
  it.each<[string, Parameters<typeof markOf>[0], ReturnType<typeof markOf>]>([
    ['a success clears it', { result: 'success' }, 'good'],
    ['a failure is the code’s', { result: 'failure', reason: reason('exit-code') }, 'good'],
    ['steps that were all skipped say nothing', { result: 'skipped' }, null],
    ['a cancel says nothing', { result: 'exception', cancel: reason('cancelled') }, null],
    ['a refusal is one', { result: 'retry', reason: reason('draining'), refusals: 0 }, 'bad'],
    ['a lost build is one', { result: 'retry', reason: reason('worker-lost') }, 'bad'],
    ['an overdue build is one', { result: 'exception', reason: reason('build-overdue') }, 'bad'],
    ['a reason that nobody knows', { result: 'exception', reason: reason('x') }, 'bad-if-early'],
    ['no reason', { result: 'retry' }, 'bad-if-early'],
    ...['engine-unavailable', 'engine-error', 'worker-error', 'workspace-error'].map(
      (code): [string, Parameters<typeof markOf>[0], ReturnType<typeof markOf>] => [
        `${code} is one when it comes soon`,
        { result: 'exception', reason: reason(code) },
        'bad-if-early',
      ],
    ),
    ...['image-unavailable', 'source-unavailable', 'policy', 'storage-full', 'revoked'].map(
      (code): [string, Parameters<typeof markOf>[0], ReturnType<typeof markOf>] => [
        `${code} is not the worker’s`,
        { result: 'exception', reason: reason(code) },
        null,
      ],
    ),
  ])('%s', (_, end, mark) => {
    expect(markOf(end)).toBe(mark);
  });

  it('costs it longer and longer, within bounds', () => {
    for (const list of [PAUSES_MS, HOLD_BACK_MS])
      expect([...list]).toEqual([...list].sort((a, b) => a - b));
    expect(nthOf(PAUSES_MS, QUARANTINE_STRIKES)).toBe(60_000);
    expect(nthOf(PAUSES_MS, QUARANTINE_STRIKES + 1)).toBe(120_000);
    expect(nthOf(PAUSES_MS, 1000)).toBe(3_600_000);
  });
});
