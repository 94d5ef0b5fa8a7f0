import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { slices, sortedInSlices } from './slices.js';

describe('slices', () => {
  it('pauses when the share of time is over, and begins the next after the turn', async () => {
    let now = 0;
    let turns = 0;
    const pause = slices(
      () => now,
      async () => {
        turns += 1;
        now += 100;
      },
    );
    expect(pause()).toBeUndefined();
    now = 4;
    expect(pause()).toBeUndefined();
    now = 5;
    await pause();
    expect(turns).toBe(1);
    now += 4;
    expect(pause()).toBeUndefined();
  });

  it('sorts as the language does, whatever the amount', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string(), { maxLength: 40 }),
        fc.nat(40),
        async (some, times) => {
          const items = Array.from({ length: times }, () => some).flat();
          const sorted = await sortedInSlices(
            items,
            (a, b) => a < b,
            () => undefined,
          );
          expect(sorted).toEqual(items.toSorted());
        },
      ),
      { numRuns: 50 },
    );
  });
});
