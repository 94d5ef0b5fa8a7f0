import { expect, it } from '@jest/globals';
import { lineOfHash, nextFollow } from './follow.js';

it('stops following when the reader scrolls up', () => {
  expect(nextFollow(true, { top: 400, view: 500, height: 2_000 }, 1_500)).toBe(false);
});

it('follows again at the end', () => {
  expect(nextFollow(false, { top: 1_490, view: 500, height: 2_000 }, 1_000)).toBe(true);
});

it('goes on following while lines come in faster than the page scrolls', () => {
  expect(nextFollow(true, { top: 1_500, view: 500, height: 9_000 }, 1_500)).toBe(true);
  expect(nextFollow(true, { top: 2_500, view: 500, height: 9_000 }, 1_500)).toBe(true);
});

it('does not begin to follow by scrolling down a little', () => {
  expect(nextFollow(false, { top: 600, view: 500, height: 9_000 }, 400)).toBe(false);
});

it('reads line links', () => {
  expect(lineOfHash('#L12')).toBe(12);
  expect(lineOfHash('L200000')).toBe(200_000);
  expect(lineOfHash('#L0')).toBeUndefined();
  expect(lineOfHash('#top')).toBeUndefined();
});
