import { describe, expect, it } from '@jest/globals';
import { alternate, measurement, median } from './measure.js';

describe('measuring', () => {
  it('takes the median', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
  });

  it('asks both in turns and forgets the first round', async () => {
    const asked: string[] = [];
    const sample = (name: string, values: number[]) => async () => {
      asked.push(name);
      return values.shift() ?? 0;
    };
    const both = await alternate(sample('a', [100, 1, 2, 3]), sample('b', [100, 4, 5, 6]), 3);
    expect(both).toEqual({ value: 2, peerValue: 5 });
    expect(asked.join('')).toBe('abababab');
  });

  it('has no ratio without a peer', async () => {
    const alone = await alternate(async () => 2, undefined, 1);
    const facts = { name: 'x', unit: 'ms', peer: 'none', goal: '≤ 1' };
    expect(measurement(facts, alone)).toMatchObject({ value: 2, peerValue: null, ratio: null });
  });
});
