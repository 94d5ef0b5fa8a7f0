import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { LineMatcher, MAX_LINE, type LineMatch, type SearchQuery } from './line-matcher.js';

const NONE = { regex: false, ignoreCase: false };

/** Searches bytes that come in pieces of these lengths. */
function search(
  query: Partial<SearchQuery> & { text: string },
  bytes: Buffer,
  cuts: readonly number[] = [],
  limit = 1e9,
): LineMatch[] {
  const matcher = new LineMatcher({ ...NONE, ...query });
  const matches: LineMatch[] = [];
  let offset = 0;
  let line = 0;
  for (const cut of [...cuts, Infinity]) {
    const part = bytes.subarray(offset, offset + cut);
    const last = offset + part.length >= bytes.length;
    const chunk = { bytes: part, offset, line, stream: 1, atMs: 0 };
    matches.push(...matcher.feed([chunk], last, limit - matches.length));
    offset += part.length;
    line += part.toString('latin1').split('\n').length - 1;
    if (last) break;
  }
  return matches;
}

const brief = ({ line, offset, text }: LineMatch) => [line, offset, text];

describe('searching lines', () => {
  it('tells each line once, with the place of the first occurrence', () => {
    const log = Buffer.from('no\nä ok ok\nok\n\nnok');
    const expected = [
      [2, 6, 'ä ok ok'],
      [3, 12, 'ok'],
      [5, 17, 'nok'],
    ];
    expect(search({ text: 'ok' }, log).map(brief)).toEqual(expected);
    expect(search({ text: 'OK', ignoreCase: true }, log).map(brief)).toEqual(expected);
    expect(search({ text: 'o(?=k)', regex: true }, log).map(brief)).toEqual(expected);
    expect(search({ text: '^ok$', regex: true }, log).map(brief)).toEqual([[3, 12, 'ok']]);
    expect(search({ text: '^$', regex: true }, log).map(brief)).toEqual([[4, 15, '']]);
  });

  it('finds what a plain look at each line finds, however the bytes are cut', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', 'ä', '\n', 'ab'), { maxLength: 60 });
    fc.assert(
      fc.property(
        letters.map((parts) => parts.join('')),
        fc.constantFrom('a', 'ab', 'ba', 'ä', 'aab'),
        fc.array(fc.nat({ max: 9 }), { maxLength: 20 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 5 }),
        (log, text, cuts, regex, limit) => {
          const expected: [number, number, string][] = [];
          let offset = 0;
          for (const [n, line] of log.split('\n').entries()) {
            const at = line.indexOf(text);
            if (at >= 0)
              expected.push([n + 1, offset + Buffer.byteLength(line.slice(0, at)), line]);
            offset += Buffer.byteLength(line) + 1;
          }
          const found = search({ text, regex }, Buffer.from(log), cuts, limit);
          expect(found.map(brief)).toEqual(expected.slice(0, limit));
        },
      ),
    );
  });

  it('says where to go on', () => {
    const matcher = new LineMatcher({ text: 'x', ...NONE });
    const chunk = { bytes: Buffer.from('x1\nx2\nx3\nx'), offset: 100, line: 7, stream: 0, atMs: 5 };
    const [first, second, ...more] = matcher.feed([chunk], false, 2);
    expect([first, second].map((m) => m && [m.line, m.offset, m.atMs])).toEqual([
      [8, 100, 5],
      [9, 103, 5],
    ]);
    expect(more).toEqual([]);
    expect(matcher.resume).toBe(106);
    const all = new LineMatcher({ text: 'nothing', ...NONE });
    all.feed([chunk], false, 9);
    expect(all.resume).toBe(109);
  });

  it('counts bytes also where they are no text', () => {
    const log = Buffer.concat([Buffer.from([0xff, 0xc3, 0x28, 0xe2, 0x82]), Buffer.from('x€y\n')]);
    for (const regex of [false, true]) {
      const [match] = search({ text: '€y', regex }, log);
      expect(match).toMatchObject({ line: 1, offset: 6, length: 4 });
      expect(match?.text.slice(match.start, match.end)).toBe('€y');
    }
  });

  it('shows what lies around an occurrence in a long line', () => {
    const log = Buffer.from(`${'a'.repeat(5000)}NEEDLE${'b'.repeat(5000)}\n`);
    const [match] = search({ text: 'NEEDLE' }, log);
    expect(match).toMatchObject({ line: 1, offset: 5000, start: 200, end: 206 });
    expect(match?.text).toHaveLength(1000);
  });

  it('searches a line without an end in parts, in bounded memory, and misses nothing between them', () => {
    const piece = 8 * 1024;
    const count = (40 * MAX_LINE) / piece;
    const bytes = Buffer.alloc(piece * count, 'a');
    // Across the border of two parts.
    bytes.write('NEEDLE', MAX_LINE * 3 - 3);
    const cuts = Array.from({ length: count }, () => piece);
    expect(search({ text: 'NEEDLE' }, bytes, cuts).map(brief)).toEqual([
      [1, MAX_LINE * 3 - 3, expect.stringContaining('NEEDLE')],
    ]);
    expect(search({ text: 'NEE', regex: true }, bytes, cuts)).toHaveLength(1);
    expect(search({ text: 'aaa' }, bytes, cuts)).toHaveLength(1);
  });
});
