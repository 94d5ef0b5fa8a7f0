import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { harmless, harmlessJson, lastState, plain } from './harmless.js';
import { LogScreen } from './log-screen.js';
import { createTerminal } from './terminal.js';
import { CONTROL, signs, steering } from './testing/steering.js';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

const PIECES = [
  '\u001b \u001b[ \u001b] \u001bP \u001b_ \u001b^ \u001bX \u001b( \u001bc \u001b\\ \u009b \u009d \u0090 \u009c \u0085',
  '\u008d \u0007 \u007f \u0000 [31m 31m 0m ; 1 2J 0;title 52;c;ZXZpbA== 8;;http://x ?1049h 6n G \b \r \n \t \v \f',
  '\u000e \u202e \u2066 \u200f \u061c \u2069 a bc é 世 😀 \ud83d \ufffd',
].flatMap((line) => [...line.split(' '), ' ']);
const nasty = fc
  .array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ unit: character, maxLength: 3 })), {
    maxLength: 40,
  })
  .map((pieces) => pieces.join(''));

describe('text of others on a terminal', () => {
  it('is letters, newlines, tabs and colours, whatever it was', () => {
    fc.assert(
      fc.property(nasty, (text) => {
        expect(steering(harmless(text))).toEqual([]);
        expect(plain(text)).not.toMatch(CONTROL);
        expect(harmless(harmless(text))).toBe(harmless(text));
      }),
      { numRuns: 500 },
    );
  });

  it('is the same when nothing in it steers', () => {
    for (const text of [
      '',
      'plain',
      'tab\tand\nline',
      '世界 é 😀 \u00a0',
      '\u001b[1;38;5;9mred\u001b[m',
    ])
      expect(harmless(text)).toBe(text);
  });

  it('loses whole sequences, and no text behind one that does not end', () => {
    expect(harmless('a\u001b]0;title\u0007b\u009d52;c;eA==\u009cc\u001bP1$r\u001b\\d')).toBe(
      'abcd',
    );
    expect(harmless('a\u001b[2J\u001b[?1049h\u001b(Bb\u001bMc\u009b6n')).toBe('abc');
    expect(harmless('a\u001b]0;never ended\nb')).toBe('a0;never ended\nb');
  });

  it('takes time in proportion to its length', () => {
    for (const piece of [
      '\u001b]',
      '\u009d',
      '\u001b[',
      '\u001b[1;',
      '\u001bP\u0090',
      '\u001b ',
      '\r',
    ])
      expect(harmless(piece.repeat(50_000)).length).toBeLessThan(100_001);
  });

  it('is still the same JSON', () => {
    fc.assert(
      fc.property(nasty, nasty, (a, b) => {
        const text = harmlessJson({ [a]: b });
        expect(text).not.toMatch(CONTROL);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify({ [a]: b })));
      }),
    );
  });

  it('is as it was in a pipe, and when it is asked for raw', () => {
    fc.assert(
      fc.property(nasty, fc.boolean(), (text, isTTY) => {
        const written: unknown[] = [];
        const sink = { write: (one: unknown) => written.push(one), isTTY };
        const { out, print, say, json, raw } = createTerminal(sink, sink, false);
        raw(text);
        for (const way of [out, print, say, json]) way(text);
        expect(written[0]).toBe(text);
        if (!isTTY)
          expect(written.slice(1)).toEqual([
            text,
            `${text}\n`,
            `${text}\n`,
            `${JSON.stringify(text)}\n`,
          ]);
        else for (const one of written.slice(1)) expect(steering(String(one))).toEqual([]);
      }),
    );
  });
});

/** What is written for a text that comes in pieces. */
function shown(pieces: readonly string[], columns?: number): string {
  let written = '';
  const screen = new LogScreen({ raw: (text) => (written += text), columns: () => columns });
  for (const piece of pieces) screen.write(piece);
  screen.end();
  return written;
}

describe('a log on a terminal', () => {
  it('shows the last state of a line that was written over', () => {
    for (const [log, lines] of [
      ['\rprogress 10%\rprogress 50%\n', 'progress 50%\n'],
      ['10%\r20%\r30%\r\nnext\r\n', '30%\nnext\n'],
      ['10%\r20%\r', '20%'],
      ['100%\r7%\n', '7%\n'],
      ['a\u001b[2K\u001b[1Gb\u001b[Gc\n', 'c\n'],
      ['\u001b[31m10%\r20%\n', '\u001b[31m20%\n\u001b[0m'],
      ['\r\r\n', '\n'],
    ] as const) {
      expect(shown([log])).toBe(lines);
      expect(shown([...log])).toBe(lines);
    }
  });

  it('is the same however it is cut, and steers nothing', () => {
    fc.assert(
      fc.property(fc.array(nasty, { maxLength: 8 }), (pieces) => {
        const whole = shown([pieces.join('')]);
        expect(shown(pieces)).toBe(whole);
        expect(shown([...pieces.join('')])).toBe(whole);
        expect(steering(whole)).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  it('does not gather what was written over', () => {
    let written = '';
    const screen = new LogScreen({ raw: (text) => (written += text), columns: () => undefined });
    for (let i = 0; i < 50_000; i++) screen.write(`\rdone ${i}`);
    expect(written).toBe('');
    screen.end();
    expect(written).toBe('done 49999');
  });

  it('shows a line that has not ended, and leaves nothing of it behind, on a terminal of any width', () => {
    const line = fc.constantFrom(
      '10%',
      'a line of some length',
      '世界世界',
      '',
      '\u001b[31mred',
      'x\ty',
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(line, fc.constantFrom('\r', '\n', '', '\r\n'))),
        fc.integer({ min: 2, max: 30 }),
        fc.integer({ min: 1, max: 7 }),
        (parts, columns, step) => {
          const log = parts.map((part) => part.join('')).join('');
          const pieces: string[] = [];
          for (let i = 0; i < log.length; i += step) pieces.push(log.slice(i, i + step));
          const rows = new Rows(columns);
          rows.write(shown(pieces, columns));
          const expected = new Rows(columns);
          expected.write(log.split('\n').map(lastState).map(plain).join('\n'));
          expect(rows.text).toEqual(expected.text);
        },
      ),
      { numRuns: 500 },
    );
    let written = '';
    const screen = new LogScreen({ raw: (text) => (written += text), columns: () => 10 });
    screen.write('waits for a key');
    expect(written).toBe('waits for');
  });
});

/** What a terminal shows: as much of one as a log may need. */
class Rows {
  readonly rows: string[][] = [[]];
  #column = 0;
  constructor(readonly columns: number) {}

  get text(): string[] {
    return this.rows.map((row) => row.join('').trimEnd());
  }

  write(text: string): void {
    for (const one of signs(text)) {
      const row = this.rows.at(-1) as string[];
      if (one === '\u001b[K') row.splice(this.#column);
      else if (one === '\n') this.#next();
      else if (one === '\r') this.#column = 0;
      else if (!one.startsWith('\u001b')) this.#put(one === '\t' ? ' ' : one);
    }
  }

  #next(): void {
    this.rows.push([]);
    this.#column = 0;
  }

  #put(one: string): void {
    const width = (one.codePointAt(0) ?? 0) > 0x10ff ? 2 : 1;
    if (this.#column + width > this.columns) this.#next();
    const row = this.rows.at(-1) as string[];
    row[this.#column] = one;
    if (width === 2) row[this.#column + 1] = '';
    this.#column += width;
  }
}
