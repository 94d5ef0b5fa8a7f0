import { crc32, deflateRawSync, constants } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { LogFrame } from '@impgem/protocol';
import { checkChunk } from './chunk.js';

function frame(text: string | Buffer, changes: Partial<LogFrame> = {}): LogFrame {
  const bytes = Buffer.from(text as string);
  return {
    kind: 'log',
    build: 1,
    epoch: 1,
    seq: 1,
    step: 0,
    stream: 'stdout',
    offset: 0,
    length: bytes.length,
    crc32: crc32(bytes),
    atMs: 0,
    payload: deflateRawSync(bytes, { finishFlush: constants.Z_FULL_FLUSH }),
    ...changes,
  };
}

describe('checkChunk', () => {
  it('counts newlines, small and big, of any bytes', () => {
    expect(checkChunk(frame('a\nb\n\nc'))).toEqual({ newlines: 3 });
    expect(checkChunk(frame('x\n'.repeat(32_768)))).toEqual({ newlines: 32_768 });
    expect(checkChunk(frame(Buffer.from([0, 255, 10, 128])))).toEqual({ newlines: 1 });
  });

  it.each<[string, Partial<LogFrame>, RegExp]>([
    ['is longer than it says', { length: 2 }, /does not inflate|inflates to/],
    ['is shorter than it says', { length: 7 }, /inflates to 5/],
    ['has another CRC-32', { crc32: 1 }, /CRC-32/],
    ['is no deflate', { payload: Buffer.from('no deflate') }, /does not inflate|inflates to/],
    ['is too long', { length: 2 ** 31 }, /at most/],
  ])('refuses a chunk that %s', (_, changes, problem) => {
    expect(checkChunk(frame('a\nb\nc', changes))).toEqual({
      problem: expect.stringMatching(problem),
    });
  });

  it('does not inflate a bomb beyond its declared length', () => {
    const payload = deflateRawSync(Buffer.alloc(50_000_000), {
      finishFlush: constants.Z_FULL_FLUSH,
    });
    expect(checkChunk(frame('abc', { payload, length: 65_536 }))).toHaveProperty('problem');
  });
});
