import { describe, expect, it } from '@jest/globals';
import { ALL_KINDS, FAULTS } from './faults.js';
import { planRound } from './plan.js';

const plans = (rounds: number, root = true) =>
  Array.from({ length: rounds }, (_, n) => planRound(n + 1, { root, steps: 3 }));
const blowsOf = (rounds: number, root?: boolean) =>
  plans(rounds, root).flatMap(({ blows }) => blows);

describe('the plan of chaos', () => {
  it('has each kind of fault in a hundred rounds often enough to bear some misses', () => {
    const blows = blowsOf(100);
    for (const kind of ALL_KINDS)
      expect([kind, blows.filter((blow) => blow.kind === kind).length > 11]).toEqual([kind, true]);
  });

  it('has two faults that differ, in steps one after the other; the second leaves the attempt alone', () => {
    const pairs = plans(100).flatMap(({ blows: [a, b] }) => (a && b ? [{ a, b }] : []));
    expect(pairs.length).toBeGreaterThan(50);
    for (const { a, b } of pairs) {
      expect(b.step).toBeGreaterThan(a.step);
      expect(b.step).toBeLessThan(3);
      expect(a.kind).not.toBe(b.kind);
      expect([FAULTS[b.kind].spoils, FAULTS[b.kind].lostAfterS]).toEqual([undefined, undefined]);
      expect(FAULTS[a.kind].lostAfterS).toBeUndefined();
    }
  });

  it('has a database of its own where a fault wants one, and is the same for the same seed', () => {
    for (const plan of plans(100)) {
      if (plan.blows.some(({ kind }) => FAULTS[kind].database)) expect(plan.database).toBe('own');
      expect(planRound(plan.seed, { root: true, steps: 3 })).toEqual(plan);
    }
  });

  it('leaves out what only root can do, and all but one when that is asked for', () => {
    expect(blowsOf(50, false).filter(({ kind }) => FAULTS[kind].root)).toEqual([]);
    const only = planRound(5, { root: true, steps: 3, only: 'connection cut' });
    expect(only.blows.map(({ kind }) => kind)).toEqual(['connection cut', 'connection cut']);
    const hard = planRound(5, { root: true, steps: 3, only: 'engine killed' });
    expect(hard.blows.map(({ kind }) => kind)).toEqual(['engine killed']);
  });
});
