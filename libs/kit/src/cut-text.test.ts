import { describe, expect, it } from '@jest/globals';
import { cutStart, cutText } from './cut-text.js';

const FAMILY = '👨‍👩‍👧‍👦';
const segments = (text: string): string[] =>
  [...new Intl.Segmenter().segment(text)].map(({ segment }) => segment);

describe('a text that is cut', () => {
  it.each([
    ['plain', 'abcdef', 3, 'abc'],
    ['short', 'abc', 3, 'abc'],
    ['a pair at the edge', 'ab😀', 3, 'ab'],
    ['CJK', '漢字漢字', 3, '漢字漢'],
    ['CJK of two units', 'a𠮷𠮷', 2, 'a'],
    ['a letter and its accents', 'abe\u0301\u0323', 4, 'ab'],
    ['a flag', 'x🇩🇪🇫🇷', 7, 'x🇩🇪'],
    ['a family', `a${FAMILY}b`, 8, 'a'],
    ['a skin', 'a👍🏽', 3, 'a'],
    ['CR and LF', 'a\r\nb', 2, 'a'],
    ['Hangul', 'a\u1112\u1161\u11ab', 3, 'a'],
    ['right to left', 'שלום', 2, 'של'],
    ['nothing', '😀', 0, ''],
    ['too little room', '😀', 1, ''],
  ])('ends after a whole character: %s', (_, text, max, cut) => {
    expect(cutText(text, max)).toBe(cut);
  });

  it('says that something is missing, within its length', () => {
    expect(cutText('abcdef', 4, '…')).toBe('abc…');
    expect(cutText('abc😀😀', 5, '…')).toBe('abc…');
    expect(cutText('abcd', 4, '…')).toBe('abcd');
  });

  it('may be cut at its beginning', () => {
    expect(cutStart('ab😀cd', 3)).toBe('cd');
    expect(cutStart('ab😀cd', 4)).toBe('😀cd');
    expect(cutStart('e\u0301x', 2)).toBe('x');
    expect(cutStart('abc', 9)).toBe('abc');
  });

  it('is cut between code points when one character never ends', () => {
    const zalgo = `a${'\u0301'.repeat(500)}`;
    expect(cutText(zalgo, 100)).toHaveLength(100);
    expect(cutStart(zalgo, 100)).toHaveLength(100);
    const many = `${'😀\u200d'.repeat(200)}`;
    expect(cutText(many, 101)).not.toMatch(/[\uD800-\uDFFF]/u);
    expect(cutStart(many, 101)).not.toMatch(/[\uD800-\uDFFF]/u);
  });

  it('is a row of whole characters at every length', () => {
    const text = `a😀e\u0301${FAMILY}🇩🇪漢\r\nשלוםn\u0303`;
    const whole = segments(text);
    for (let max = 0; max <= text.length; max += 1) {
      const head = segments(cutText(text, max));
      expect(head.join('').length).toBeLessThanOrEqual(max);
      expect(head).toEqual(whole.slice(0, head.length));
      const tail = segments(cutStart(text, max));
      expect(tail).toEqual(tail.length === 0 ? [] : whole.slice(-tail.length));
    }
  });
});
