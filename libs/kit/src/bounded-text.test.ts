import { describe, expect, it } from '@jest/globals';
import { cutBytes, quoted, storableText } from './bounded-text.js';
import { cutText } from './cut-text.js';

/** Text of odd characters, always the same for a seed. */
function oddText(seed: number): string {
  const pieces = ['a', '\0', '\u0001', '"', '\\', 'é', '€', '😀', '\uD800', '\uDC00', '\u2028'];
  let state = seed;
  const next = () => (state = (state * 1103515245 + 12345) % 2 ** 31);
  return Array.from({ length: next() % 400 }, () => pieces[next() % pieces.length]).join('');
}
const bytesOf = (text: string): number =>
  encodeURIComponent(text.replace(/\p{Surrogate}/gu, '\uFFFD')).replace(/%../g, 'x').length;
const isWhole = (text: string, of: string): boolean =>
  of.startsWith(text) &&
  !(/[\uD800-\uDBFF]$/.test(text) && /^[\uDC00-\uDFFF]/.test(of.slice(text.length)));

describe('bounded text', () => {
  it('is within its bound, whole characters, and all of what fits', () => {
    for (let seed = 1; seed < 300; seed++) {
      const text = oddText(seed);
      for (const most of [0, 1, 2, 7, 123, 2000]) {
        const units = cutText(text, most);
        expect(units.length).toBeLessThanOrEqual(most);
        expect(isWhole(units, text)).toBe(true);
        expect(units.length >= Math.min(most, text.length) - 1).toBe(true);
        const bytes = cutBytes(text, most);
        expect(bytesOf(bytes)).toBeLessThanOrEqual(most);
        expect(isWhole(bytes, text)).toBe(true);
        if (bytesOf(text) <= most) expect(bytes).toBe(text);
      }
    }
  });

  it('in quotes is bounded after its escapes', () => {
    expect(quoted('a"b')).toBe('"a\\"b"');
    expect(quoted('\u0001'.repeat(200)).length).toBeLessThanOrEqual(200);
    for (let seed = 1; seed < 300; seed++) {
      const text = oddText(seed);
      expect(quoted(text, 100).length).toBeLessThanOrEqual(100);
      if (JSON.stringify(text).length <= 100) expect(quoted(text, 100)).toBe(JSON.stringify(text));
    }
  });

  it('is storable without NUL and halves of pairs', () => {
    expect(storableText('x\0y\uD800😀\uDC00')).toBe('x\uFFFDy\uFFFD😀\uFFFD');
  });
});
