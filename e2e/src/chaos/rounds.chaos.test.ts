import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Ground } from './ground.js';
import { SMALL, STEPS } from './output.js';
import { planRound } from './plan.js';
import { playRound } from './round.js';

/** The two faults that no other test has; `npm run chaos` plays as many rounds as one likes. */
const SEEDS = [262];

describe('a build that writes while things break', () => {
  let ground: Ground;
  beforeAll(async () => {
    ground = await Ground.lay(SMALL);
  });
  afterAll(() => ground?.clear());

  const root = process.getuid?.() === 0;
  const plans = SEEDS.map((seed) => planRound(seed, { root, steps: STEPS }));
  const named = plans.map((plan) => ({
    plan,
    what: plan.blows.map(({ kind }) => kind).join(', then '),
  }));

  it.each(named)('loses nothing, and leaves nothing: $what', async ({ plan }) => {
    const report = await playRound(ground, plan);
    expect({ ...report, hits: [] }).toMatchObject({ problems: [] });
    expect(report.hits.some(({ writing }) => writing)).toBe(true);
  });
});
