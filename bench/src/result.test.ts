import { describe, expect, it } from '@jest/globals';
import { judge, sentence, type Figure } from './result.js';

const figure: Figure = {
  what: 'a pipe',
  unit: 'MiB/s',
  peer: 'cat',
  bars: [
    { of: 'ratio', is: '≥', bar: 0.7, goal: 0.9 },
    { of: 'value', is: '≥', bar: 50, goal: 50 },
  ],
};

describe('judging', () => {
  it('meets the bar when every demand is met', () => {
    expect(judge('log', figure, { value: 80, peerValue: 100 })).toEqual({
      name: 'log',
      value: 80,
      unit: 'MiB/s',
      peer: 'cat',
      peerValue: 100,
      ratio: 0.8,
      goal: 'ratio ≥ 0.9 and ≥ 50 MiB/s',
      bar: 'ratio ≥ 0.7 and ≥ 50 MiB/s',
      met: true,
      goalMet: false,
    });
    expect(judge('log', figure, { value: 40, peerValue: 50 }).met).toBe(false);
  });

  it('judges nothing that it does not know', () => {
    expect(judge('log', figure, { value: 80 })).toMatchObject({ ratio: null, met: null });
    expect(judge('log', figure, { value: 40 }).met).toBe(false);
    const missing = judge('log', figure, { value: null, note: 'there is no pipe' });
    expect(missing).toMatchObject({ value: null, met: null, note: 'there is no pipe' });
    expect(sentence(missing)).toContain('not measured');
  });

  it('takes a limit as met when it is reached exactly', () => {
    const bars = [{ of: 'value', is: '≤', bar: 30, goal: 15 }] as const;
    const latency = { ...figure, peer: null, bars };
    expect(judge('latency', latency, { value: 30 })).toMatchObject({ met: true, goalMet: false });
  });
});
