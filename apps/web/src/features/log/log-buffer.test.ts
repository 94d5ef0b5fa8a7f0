import type { StreamName } from '@impgem/client';
import { describe, expect, it } from '@jest/globals';
import { LINE_CHARACTERS, LogBuffer } from './log-buffer.js';

/** Feeds texts as pieces that follow each other. */
function feed(buffer: LogBuffer, ...texts: (string | [StreamName, string])[]): void {
  for (const entry of texts) {
    const [stream, text] = typeof entry === 'string' ? (['stdout', entry] as const) : entry;
    const length = new TextEncoder().encode(text).length;
    expect(buffer.append({ stream, offset: buffer.end, length, text })).toBe('taken');
  }
}
const texts = (buffer: LogBuffer) =>
  Array.from({ length: buffer.count }, (_, index) => buffer.line(index)?.text);

describe('lines', () => {
  it('are the same wherever the pieces are cut', () => {
    const whole = 'one\ntwo\n\nfour é\nfive';
    const expected = ['one', 'two', '', 'four é', 'five'];
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const buffer = new LogBuffer();
      feed(buffer, ...[whole.slice(0, cut), whole.slice(cut)].filter(Boolean));
      expect(texts(buffer)).toEqual(expected);
    }
  });

  it('of one stream are not torn by the other', () => {
    const buffer = new LogBuffer();
    feed(buffer, 'compiling ', ['stderr', 'warning: x\n'], 'done\n', ['system', 'exit 0\n']);
    expect(texts(buffer)).toEqual(['compiling done', 'warning: x', 'exit 0']);
    expect(buffer.line(1)?.stream).toBe('stderr');
  });

  it('are overwritten after a carriage return, but not by the one of a CRLF', () => {
    const buffer = new LogBuffer();
    feed(buffer, '10%\r20%\r', '30%\r\nnext\r', '\nlast\r');
    expect(texts(buffer)).toEqual(['30%', 'next', 'last']);
  });

  it('keep NUL and replacement characters', () => {
    const buffer = new LogBuffer();
    feed(buffer, 'a\0b\uFFFDc\n');
    expect(texts(buffer)).toEqual(['a\0b\uFFFDc']);
  });
});

describe('a long line', () => {
  it('is cut for display and says how much is hidden', () => {
    const buffer = new LogBuffer();
    const piece = 'x'.repeat(65_536);
    for (let count = 0; count < 800; count += 1) feed(buffer, piece);
    feed(buffer, '\nnext\n');
    expect(buffer.line(0)?.text).toHaveLength(LINE_CHARACTERS);
    expect(buffer.line(0)?.hidden).toBe(800 * 65_536 - LINE_CHARACTERS);
    expect(buffer.line(1)?.text).toBe('next');
  });

  it('that is a progress bar shows its last state', () => {
    const buffer = new LogBuffer();
    for (let percent = 0; percent <= 9_000; percent += 1) feed(buffer, `${percent}\r`);
    expect(texts(buffer)).toEqual(['9000']);
    expect(buffer.line(0)?.hidden).toBe(0);
  });
});

/** A piece of stdout at a byte offset. */
const piece = (offset: number, text: string) => ({
  stream: 'stdout' as const,
  offset,
  length: text.length,
  text,
});

describe('offsets', () => {
  it('keep a piece that came twice out', () => {
    const buffer = new LogBuffer();
    buffer.append(piece(0, 'one\n'));
    expect(buffer.append(piece(0, 'one\n'))).toBe('old');
    expect(texts(buffer)).toEqual(['one']);
  });

  it('take only what is new of a piece that overlaps', () => {
    const buffer = new LogBuffer();
    buffer.append(piece(0, 'one\n'));
    expect(buffer.append(piece(2, 'e\ntwo\n'))).toBe('taken');
    expect(texts(buffer)).toEqual(['one', 'two']);
    expect(buffer.end).toBe(8);
  });

  it('tell a gap and take nothing of what stands behind it', () => {
    const buffer = new LogBuffer();
    buffer.append(piece(0, 'one\n'));
    expect(buffer.append(piece(9, 'three\n'))).toBe('gap');
    expect(buffer.end).toBe(4);
  });

  it('take text that was held back, which has no bytes of its own', () => {
    const buffer = new LogBuffer();
    buffer.append({ stream: 'stdout', offset: 0, length: 3, text: 'ab' });
    expect(buffer.append({ stream: 'stdout', offset: 3, length: 0, text: '\uFFFD' })).toBe('taken');
    expect(texts(buffer)).toEqual(['ab\uFFFD']);
    expect(buffer.end).toBe(3);
  });

  it('say when the log is complete', () => {
    const buffer = new LogBuffer();
    buffer.finish(4);
    expect(buffer.complete).toBe(false);
    buffer.append(piece(0, 'one\n'));
    expect(buffer.complete).toBe(true);
  });
});

describe('colours', () => {
  it('are carried into the lines that follow until they are reset', () => {
    const buffer = new LogBuffer();
    feed(buffer, '\u001B[1m\u001B[31mred\nstill\u001B[0m plain\nplain\n');
    expect(buffer.line(0)?.carry).toBe('');
    expect(buffer.line(1)?.carry).toBe('\u001B[1m\u001B[31m');
    expect(buffer.line(2)?.carry).toBe('');
  });

  it('of one stream do not colour the other', () => {
    const buffer = new LogBuffer();
    feed(buffer, '\u001B[32mgreen\n', ['stderr', 'plain\n']);
    expect(buffer.line(1)?.carry).toBe('');
  });

  it('carry a bounded number of codes', () => {
    const buffer = new LogBuffer();
    feed(buffer, `${'\u001B[31m\u001B[32m'.repeat(1_000)}\nnext\n`);
    expect(buffer.line(1)?.carry.length).toBeLessThanOrEqual(120);
    expect(buffer.line(1)?.carry.endsWith('\u001B[32m')).toBe(true);
  });
});

it('keeps the newest lines within its limit and their numbers right', () => {
  const buffer = new LogBuffer({ lines: 100, characters: 1_000_000 });
  for (let line = 1; line <= 1_000; line += 1) feed(buffer, `${line}\n`);
  expect(buffer.count).toBeLessThanOrEqual(100);
  expect(buffer.dropped + buffer.count).toBe(1_000);
  expect(buffer.line(0)?.text).toBe(String(buffer.dropped + 1));
  expect(buffer.line(buffer.count - 1)?.text).toBe('1000');
});
