import { expect, it } from '@jest/globals';
import { FrameRate } from './frame-rate.js';

const BOUNDS = { workerFramesPerSecond: 100, workerFrameBurst: 50 };

it('lets a burst through, then no more than the rate', () => {
  const rate = new FrameRate(BOUNDS, 0);
  for (let n = 0; n < 50; n++) expect(rate.count(0)).toBe(0);
  expect(rate.count(0)).toBe(10);
  expect(rate.count(10)).toBe(10);
  // A worker that sends as fast as it is read: so many in ten seconds, burst included.
  const flood = new FrameRate(BOUNDS, 0);
  let now = 0;
  let count = 0;
  for (; now < 10_000; count++) now += flood.count(now);
  expect(count).toBeGreaterThan(1000);
  expect(count).toBeLessThanOrEqual(10 * 100 + 50 + 1);
});

it('does not count what is counted elsewhere', () => {
  const rate = new FrameRate(BOUNDS, 0);
  for (let n = 0; n < 500; n++) {
    expect(rate.count(0)).toBe(0);
    rate.refund();
  }
});
