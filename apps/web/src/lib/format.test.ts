import { describe, expect, it } from '@jest/globals';
import {
  formatAgo,
  formatBytes,
  formatCount,
  formatDuration,
  shortRevision,
  spanOf,
} from './format.js';

describe('durations', () => {
  it.each([
    [-50, '0.0 s'],
    [0, '0.0 s'],
    [449, '0.4 s'],
    [9_999, '9.9 s'],
    [10_000, '10 s'],
    [59_999, '59 s'],
    [60_000, '1 min 00 s'],
    [185_000, '3 min 05 s'],
    [3_600_000, '1 h 00 min'],
    [7_620_000, '2 h 07 min'],
    [273_600_000, '3 d 4 h'],
  ])('shows %d ms as %s', (ms, text) => expect(formatDuration(ms)).toBe(text));

  it('runs to the finish when there is one, else to now, and never below zero', () => {
    const start = '2026-01-01T00:00:00.000Z';
    const at = Date.parse(start);
    expect(spanOf(null, null, at)).toBeUndefined();
    expect(spanOf(start, null, at + 500)).toBe(500);
    expect(spanOf(start, '2026-01-01T00:00:02.000Z', at + 9_000)).toBe(2_000);
    expect(spanOf(start, null, at - 900)).toBe(0);
  });
});

describe('moments', () => {
  const now = Date.parse('2026-06-01T12:00:00Z');
  it.each([
    [2_000, 'just now'],
    [-4_000, 'just now'],
    [40_000, '40 s ago'],
    [300_000, '5 min ago'],
    [3 * 3_600_000, '3 h ago'],
    [2 * 86_400_000, '2 d ago'],
    [60 * 86_400_000, '2026-04-02'],
  ])('shows %d ms ago as %s', (ms, text) => expect(formatAgo(now - ms, now)).toBe(text));
});

describe('sizes', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [52_428_800, '50.0 MiB'],
    [1_073_741_823, '1.0 GiB'],
  ])('shows %d bytes as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it('groups the digits of counts', () => {
    expect(formatCount(999)).toBe('999');
    expect(formatCount(200_000)).toBe('200\u202f000');
    expect(formatCount(1_234_567)).toBe('1\u202f234\u202f567');
  });
});

it('shortens commit ids and nothing else', () => {
  expect(shortRevision('0123456789abcdef0123456789abcdef01234567')).toBe('0123456789');
  expect(shortRevision('release/2026')).toBe('release/2026');
});
