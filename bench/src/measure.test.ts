import { describe, expect, it } from '@jest/globals';
import { inTurns, median, medians, percentile } from './measure.js';

describe('measuring', () => {
  it('takes the median', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
  });

  it('takes the value that 99 of a hundred do not exceed', () => {
    const hundred = Array.from({ length: 100 }, (_, n) => 100 - n);
    expect(percentile(hundred, 0.99)).toBe(99);
    expect(percentile([5], 0.99)).toBe(5);
    expect(percentile([1, 2], 0.5)).toBe(1);
  });

  it('asks both in turns and forgets the first round', async () => {
    const asked: string[] = [];
    const sample = (name: string, values: number[]) => async () => {
      asked.push(name);
      return values.shift() ?? 0;
    };
    const both = await medians(3, sample('a', [100, 1, 2, 3]), sample('b', [100, 4, 5, 6]));
    expect(both).toEqual({ value: 2, peerValue: 5 });
    expect(asked.join('')).toBe('abababab');
  });

  it('pools several samples of one turn', async () => {
    expect(await inTurns(2, async () => [1, 2])).toEqual({ ours: [1, 2, 1, 2], theirs: [] });
  });
});
