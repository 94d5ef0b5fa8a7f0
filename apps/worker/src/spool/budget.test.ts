import { describe, expect, it } from '@jest/globals';
import { Budget } from './budget.js';

function budget() {
  const clock = { now: 0 };
  return { clock, made: new Budget(100, 1000, () => clock.now) };
}

describe('Budget', () => {
  it('is exhausted when it is full and no room has come for its patience', () => {
    const { clock, made } = budget();
    made.take(50);
    clock.now = 5000;
    expect([made.full, made.exhausted]).toEqual([false, false]);
    made.take(60);
    expect([made.full, made.exhausted]).toEqual([true, false]);
    clock.now = 5500;
    made.give(5);
    clock.now = 6400;
    expect([made.full, made.exhausted]).toEqual([true, false]);
    clock.now = 6500;
    expect([made.full, made.exhausted]).toEqual([true, true]);
    made.give(10);
    expect([made.full, made.exhausted]).toEqual([false, false]);
  });

  it('lets those go who wait for room when it comes, or when it is exhausted', async () => {
    const { made } = budget();
    made.take(150);
    const room = made.room();
    made.give(60);
    await room;
    const impatient = new Budget(10, 5);
    impatient.take(10);
    await impatient.room();
    expect(impatient.exhausted).toBe(true);
  });
});
