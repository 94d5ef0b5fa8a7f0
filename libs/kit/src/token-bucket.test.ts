import { expect, it } from '@jest/globals';
import { TokenBucket } from './token-bucket.js';

const RATE = { perSecond: 100, burst: 50 };

it('lets a burst through, then no more than the rate', () => {
  const bucket = new TokenBucket(RATE, 0);
  for (let n = 0; n < 50; n++) expect(bucket.take(0)).toBe(0);
  expect(bucket.take(0)).toBe(10);
  expect(bucket.take(10)).toBe(10);
  // One that sends as fast as it is read: so many in ten seconds, burst included.
  const flood = new TokenBucket(RATE, 0);
  let now = 0;
  let count = 0;
  for (; now < 10_000; count++) now += flood.take(now);
  expect(count).toBeGreaterThan(1000);
  expect(count).toBeLessThanOrEqual(10 * 100 + 50 + 1);
});

it('does not count what is counted elsewhere', () => {
  const bucket = new TokenBucket(RATE, 0);
  for (let n = 0; n < 500; n++) {
    expect(bucket.take(0)).toBe(0);
    bucket.refund();
  }
});
