import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { duration, harmless, size } from '../terminal.js';
import { Lines } from './view.js';

describe('lines of a log', () => {
  it('are the same however the text is cut, and keep the order of each stream', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.constantFrom('stdout', 'stderr'), fc.constantFrom('a', 'bc\n', '\n', 'd\ne')),
          { maxLength: 20 },
        ),
        (pieces) => {
          const lines: [string, string][] = [];
          const whole = { stdout: '', stderr: '' };
          const gather = new Lines((stream, _, text) => lines.push([stream, text]));
          for (const [stream, text] of pieces as ['stdout' | 'stderr', string][]) {
            whole[stream] += text;
            gather.add({ stream, at: '', text });
          }
          gather.flush();
          for (const stream of ['stdout', 'stderr'] as const) {
            const expected = whole[stream].split('\n');
            if (expected.at(-1) === '') expected.pop();
            expect(lines.filter(([s]) => s === stream).map(([, text]) => text)).toEqual(expected);
          }
        },
      ),
    );
  });

  it('do not grow without end when no newline comes', () => {
    const lengths: number[] = [];
    const lines = new Lines((_, __, text) => lengths.push(text.length));
    for (let i = 0; i < 100; i++) lines.add({ stream: 'stdout', at: '', text: 'x'.repeat(10_000) });
    lines.flush();
    expect(Math.max(...lengths)).toBeLessThan(80_000);
    expect(lengths.reduce((a, b) => a + b)).toBe(1_000_000);
  });
});

describe('what the terminal shows', () => {
  it('keeps colours and drops what could steer it', () => {
    expect(
      harmless(
        '\u001b[1;31mred\u001b[0m \u001b]52;c;ZXZpbA==\u0007ok\u001b[2J\rback\u0000\u009b1m',
      ),
    ).toBe('\u001b[1;31mred\u001b[0m okback');
  });

  it('writes times and sizes for people', () => {
    expect([5, 1500, 65_000, 7_400_000].map(duration)).toEqual([
      '5 ms',
      '1.5 s',
      '1 min 05 s',
      '2 h 03 min',
    ]);
    expect([0, 1023, 1536, 3 * 1024 ** 3].map(size)).toEqual([
      '0 B',
      '1023 B',
      '1.5 KiB',
      '3.0 GiB',
    ]);
  });
});
