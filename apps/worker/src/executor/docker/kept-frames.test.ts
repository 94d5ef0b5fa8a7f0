import { describe, expect, it } from '@jest/globals';
import { KeptFrames } from './kept-frames.js';

const PART = 'x'.repeat(16 * 1024);

function frame(stream: 1 | 2, stamp: number, text: string): Buffer {
  const bytes = Buffer.from(`2026-11-25T20:12:28.${String(stamp).padStart(9, '0')}Z ${text}`);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

/** What comes out of frames, whatever the pieces are in which they come in. */
function read(frames: Buffer[], size: number) {
  const input = Buffer.concat(frames);
  const kept = new KeptFrames();
  const out = { stdout: '', stderr: '' };
  for (let at = 0; at < input.length; at += size)
    for (const { stream, bytes } of kept.push(input.subarray(at, at + size)))
      out[stream] += bytes.toString();
  return { ...out, unsure: kept.unsure, torn: kept.torn };
}

describe.each([1, 7, 39, 40, 100_000])('output that was kept, in pieces of %d', (size) => {
  const [rest, sure] = [{ stderr: '', torn: false }, { unsure: [] }];

  it('is as it was where lines are short', () => {
    const lines = [
      frame(1, 1, 'a\n'),
      frame(1, 2, '\n'),
      frame(2, 3, 'e\n'),
      frame(1, 4, 'no end'),
    ];
    expect(read(lines, size)).toEqual({
      stdout: 'a\n\nno end',
      stderr: 'e\n',
      ...sure,
      torn: false,
    });
  });

  it('has its newline again after a line of several parts', () => {
    const lines = [frame(1, 1, PART), frame(1, 1, PART), frame(1, 1, 'yz'), frame(1, 2, 'b\n')];
    expect(read(lines, size)).toEqual({ stdout: `${PART}${PART}yz\nb\n`, ...rest, ...sure });
  });

  it('has it also when the last part is empty', () => {
    const lines = [frame(1, 1, PART), frame(2, 5, 'e\n'), frame(1, 1, ''), frame(1, 2, 'b\n')];
    const out = { stdout: `${PART}\nb\n`, stderr: 'e\n', torn: false };
    expect(read(lines, size)).toEqual({ ...out, ...sure });
  });

  it('has it once where the engine tells it, or tells no last part', () => {
    const told = [frame(1, 1, PART), frame(1, 1, 'yz\n'), frame(1, 2, 'b\n')];
    expect(read(told, size)).toEqual({ stdout: `${PART}yz\nb\n`, ...rest, ...sure });
    const untold = [frame(1, 1, PART), frame(1, 2, 'b\n')];
    expect(read(untold, size)).toEqual({ stdout: `${PART}\nb\n`, ...rest, ...sure });
  });

  it('is not sure of it where nothing follows the last part', () => {
    const lines = [frame(1, 1, PART), frame(1, 1, 'yz')];
    expect(read(lines, size)).toEqual({ stdout: `${PART}yz`, ...rest, unsure: ['stdout'] });
    expect(read([frame(1, 1, PART)], size)).toEqual({ stdout: PART, ...rest, ...sure });
  });
});
