import { randomBytes } from 'node:crypto';
import { crc32, deflateRawSync, constants, gunzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { CHUNK_BYTES, mostPayload, type LogFrame } from '@impgem/protocol';
import { GZIP_HEADER, GzipSum } from '../logs/gzip-stream.js';
import { checkChunk } from './chunk.js';

/** Numbers that look random and are the same for the same seed. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 1) >>> 7;
}

const FULL = { finishFlush: constants.Z_FULL_FLUSH };

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
    payload: deflateRawSync(bytes, FULL),
    ...changes,
  };
}
/** Bytes of all kinds, from noise to one that repeats. */
function content(random: () => number): Buffer {
  const length = 1 + (random() % (random() % 3 > 0 ? 400 : CHUNK_BYTES));
  const kinds = [
    () => randomBytes(length),
    () => Buffer.alloc(length, random() % 256),
    () => Buffer.from('lorem ipsum dolor\n'.repeat(Math.ceil(length / 18))).subarray(0, length),
    () => Buffer.concat([Buffer.alloc(length >> 1), randomBytes(length - (length >> 1))]),
    // Stored blocks within what is compressed, and the very bytes of a flush.
    () => Buffer.alloc(length, Buffer.from([0, 0, 0xff, 0xff])),
  ];
  return kinds[random() % kinds.length]?.() ?? Buffer.alloc(length);
}

/** A stored block. */
const stored = (bytes: Buffer, final: boolean) =>
  Buffer.concat([Buffer.from([final ? 1 : 0, bytes.length, 0, 255 - bytes.length, 255]), bytes]);

describe('checkChunk', () => {
  it('counts newlines, small and big, of any bytes', () => {
    expect(checkChunk(frame('a\nb\n\nc'))).toEqual({ newlines: 3 });
    expect(checkChunk(frame('x\n'.repeat(32_768)))).toEqual({ newlines: 32_768 });
    expect(checkChunk(frame(Buffer.from([0, 255, 10, 128])))).toEqual({ newlines: 1 });
  });

  it('takes what workers make of any bytes, at any level, and one gzip stream comes of it', () => {
    const random = seededRandom(1);
    const sum = new GzipSum();
    const parts: Uint8Array[] = [GZIP_HEADER];
    const all: Buffer[] = [];
    for (let n = 0; n < 150; n++) {
      const bytes = content(random);
      const level = [1, 1, -1, 0, 9][n % 5] ?? 1;
      const payload = deflateRawSync(bytes, { ...FULL, level });
      const chunk = frame(bytes, { payload });
      expect([n, level, bytes.length, checkChunk(chunk)]).toEqual([
        n,
        level,
        bytes.length,
        { newlines: bytes.filter((byte) => byte === 10).length },
      ]);
      sum.add(chunk);
      parts.push(payload);
      all.push(bytes);
    }
    const whole = gunzipSync(Buffer.concat([...parts, sum.trailer()]));
    expect(whole.equals(Buffer.concat(all))).toBe(true);
  });

  const text = Buffer.from('a\nb\nc');
  const good = deflateRawSync(text, FULL);
  const flush = stored(Buffer.alloc(0), false);
  const ends = Buffer.from([0, 0, 255, 255]);
  it.each<[string, Partial<LogFrame>, RegExp]>([
    ['is longer than it says', { length: 2 }, /does not inflate|inflates to/],
    ['is shorter than it says', { length: 7 }, /inflates to 5/],
    ['has another CRC-32', { crc32: 1 }, /CRC-32/],
    ['is no deflate', { payload: Buffer.from('no deflate') }, /full flush/],
    [
      'is no deflate with its end',
      { payload: Buffer.from('no deflate\0\0\xff\xff', 'latin1') },
      /./,
    ],
    ['is too long', { length: 2 ** 31 }, /at most/],
    ['is empty', { length: 0, crc32: 0, payload: flush }, /at least one/],
    ['has no bytes at all', { payload: Buffer.alloc(0) }, /full flush/],
    ['has a final block', { payload: deflateRawSync(text) }, /full flush/],
    [
      'has a final block with its end',
      { payload: Buffer.concat([deflateRawSync(text), flush]) },
      /final/,
    ],
    [
      'ends in a final flush',
      { payload: Buffer.concat([stored(text, false), stored(Buffer.alloc(0), true)]) },
      /final/,
    ],
    ['has bytes behind its end', { payload: Buffer.concat([good, Buffer.from('xy'), ends]) }, /./],
    [
      'ends with a sync in its content',
      {
        length: 9,
        crc32: crc32(Buffer.concat([text, ends])),
        payload: stored(Buffer.concat([text, ends]), false),
      },
      /./,
    ],
    [
      'is padded with empty blocks',
      { payload: Buffer.concat([good, ...Array.from({ length: 20 }, () => flush)]) },
      /too many/,
    ],
    [
      'looks back beyond its beginning',
      { payload: deflateRawSync(text, { ...FULL, dictionary: text }) },
      /./,
    ],
  ])('refuses a chunk that %s', (_, changes, problem) => {
    expect(checkChunk(frame(text, changes))).toEqual({ problem: expect.stringMatching(problem) });
  });

  it('refuses whatever is changed in a chunk, unless it is a chunk all the same', () => {
    const random = seededRandom(2);
    for (let n = 0; n < 700; n++) {
      const bytes = content(random).subarray(0, 200);
      const payload = Buffer.from(deflateRawSync(bytes, FULL));
      payload[random() % payload.length] = random() % 256;
      const chunk = frame(bytes, { payload });
      if ('problem' in checkChunk(chunk)) continue;
      const sum = new GzipSum();
      sum.add(chunk);
      sum.add(frame('end'));
      const gzip = [GZIP_HEADER, payload, frame('end').payload, sum.trailer()];
      expect(gunzipSync(Buffer.concat(gzip)).toString('latin1')).toBe(
        `${bytes.toString('latin1')}end`,
      );
    }
  });

  it('does not inflate a bomb beyond its declared length', () => {
    const payload = deflateRawSync(Buffer.alloc(12_000_000), FULL);
    expect(checkChunk(frame('abc', { payload, length: 65_536 }))).toHaveProperty('problem');
    expect(payload.length).toBeLessThan(mostPayload(65_536));
  });
});
