import { expect, it } from '@jest/globals';
import { around, fewerLines } from './log-part.js';

const MiB = 1024 * 1024;

const part = (lines: number, bytes: number) => ({
  first: 1,
  last: lines,
  total: lines,
  from: 0,
  to: bytes,
});

it('takes the lines on both sides of one, and none before the first', () => {
  expect(around(100_000, 50_000)).toBe('75000-124999');
  expect(around(10, 50_000)).toBe('1-50000');
});

it('takes fewer of long lines, and never next to none', () => {
  expect(fewerLines(part(50_000, 5 * MiB))).toBeUndefined();
  expect(fewerLines(part(50_000, 160 * MiB))).toBe(5_000);
  expect(fewerLines(part(200, 1024 * MiB))).toBe(100);
  expect(fewerLines(part(100, 1024 * MiB))).toBeUndefined();
});
