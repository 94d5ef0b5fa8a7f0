import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { unfinished, Utf8Stream } from './utf8.js';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

const whole = (bytes: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

const texts = fc.string({ unit: character, maxLength: 30 });
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  texts.map((text) => new TextEncoder().encode(text)),
);

/** Cut at each of the positions (taken modulo the length). */
function pieces(of: Uint8Array, cuts: number[]): Uint8Array[] {
  const at = [0, ...cuts.map((cut) => cut % (of.length + 1)), of.length].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => of.subarray(at[i] ?? 0, end));
}

describe('Utf8Stream', () => {
  it('gives the text of the whole, however it is cut', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat()), (all, cuts) => {
        const stream = new Utf8Stream();
        const text = pieces(all, cuts).map((piece) => stream.decode(piece));
        expect(text.join('') + stream.end()).toBe(whole(all));
      }),
    );
  });

  it('goes on in the middle as if it had read from the start', () => {
    fc.assert(
      fc.property(bytes, fc.nat(), (all, cut) => {
        const at = cut % (all.length + 1);
        const first = new Utf8Stream();
        const head = first.decode(all.subarray(0, at));
        const second = new Utf8Stream(all.subarray(0, at));
        expect(head + second.decode(all.subarray(at)) + second.end()).toBe(whole(all));
      }),
    );
  });

  it('keeps a cut character for the piece that completes it', () => {
    const stream = new Utf8Stream();
    const euro = new TextEncoder().encode('€');
    expect(stream.decode(euro.subarray(0, 1))).toBe('');
    expect(stream.decode(euro.subarray(1, 2))).toBe('');
    expect(stream.decode(euro.subarray(2))).toBe('€');
  });
});

describe('unfinished', () => {
  it.each([
    [[0x61], []],
    [
      [0x61, 0xe2, 0x82],
      [0xe2, 0x82],
    ],
    [
      [0xf0, 0x9f, 0x98],
      [0xf0, 0x9f, 0x98],
    ],
    [[0xc3, 0xa9], []],
    // Bytes that no character begins with, or that cannot follow.
    [[0xff], []],
    [[0xe0, 0x80], []],
    [[0xc1], []],
  ])('of %j is %j', (given, tail) => {
    expect([...unfinished(Uint8Array.from(given))]).toEqual(tail);
  });
});
