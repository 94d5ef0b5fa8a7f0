import { constants, crc32, deflateRawSync, gunzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { STREAMS } from '@impgem/protocol';
import * as fc from 'fast-check';
import { inflate, type StoredChunk } from './chunk.js';
import { SealedParts } from './sealed-format.js';
import { inMemory, SealedLog } from './sealed-log.js';

type Piece = [stream: number, text: string];

function stored(pieces: readonly Piece[]): StoredChunk[] {
  let offset = 0;
  let line = 0;
  return pieces.map(([stream, text], n) => {
    const bytes = Buffer.from(text);
    const chunk: StoredChunk = {
      stream: STREAMS[stream] ?? 'stdout',
      offset,
      length: bytes.length,
      line,
      crc32: crc32(bytes),
      at: new Date(1_700_000_000_000 + n),
      data: deflateRawSync(bytes, { finishFlush: constants.Z_FULL_FLUSH }),
    };
    offset += bytes.length;
    line += text.split('\n').length - 1;
    return chunk;
  });
}

function seal(chunks: readonly StoredChunk[]): Buffer {
  const parts = new SealedParts();
  const index = chunks.map((chunk) => parts.add(chunk));
  const { trailer, footer } = parts.end(0);
  const whole = [parts.header, ...chunks.map(({ data }) => data), trailer, ...index, footer];
  const bytes = Buffer.concat(whole);
  expect(bytes.length).toBe(parts.size);
  return bytes;
}

const pieces = fc.array(
  fc.tuple(
    fc.nat({ max: 2 }),
    fc.array(fc.constantFrom('a', 'ä', '\n', '€', 'b\n'), { minLength: 1 }).map((t) => t.join('')),
  ) as fc.Arbitrary<Piece>,
  { minLength: 1, maxLength: 40 },
);

describe('a sealed log', () => {
  it('is one gzip stream, then an index', async () => {
    await fc.assert(
      fc.asyncProperty(pieces, async (given) => {
        const log = await SealedLog.open(inMemory(seal(stored(given))));
        const gzip: Uint8Array[] = [];
        for await (const piece of log.gzipped()) gzip.push(piece);
        expect(gunzipSync(Buffer.concat(gzip)).toString()).toBe(given.map(([, t]) => t).join(''));
      }),
    );
  });

  it('gives the chunks from any byte on, as they were stored, a page at a time', async () => {
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 20 }),
        async (given, where, most, bytes) => {
          const chunks = stored(given);
          const end = chunks.reduce((sum, { length }) => sum + length, 0);
          const offset = Math.floor(where * end);
          const log = await SealedLog.open(inMemory(seal(chunks)));
          const { chunks: page, more } = await log.page(offset, { chunks: most, bytes });
          const from = chunks.findIndex((chunk) => chunk.offset + chunk.length > offset);
          const expected = from < 0 ? [] : chunks.slice(from, from + page.length);
          expect(page).toEqual(expected);
          expect(page.length).toBeGreaterThan(from < 0 ? -1 : 0);
          expect(page.length).toBeLessThanOrEqual(most);
          expect(more).toBe(from >= 0 && from + page.length < chunks.length);
          // All but the last lie within the bytes that were asked for.
          const inside = page.slice(0, -1).reduce((sum, { length }) => sum + length, 0);
          expect(inside).toBeLessThan(Math.max(1, bytes));
        },
      ),
    );
  });

  it('finds the chunk of any line, and the end of each stream before any byte', async () => {
    await fc.assert(
      fc.asyncProperty(pieces, fc.nat({ max: 300 }), async (given, cut) => {
        const chunks = stored(given);
        const log = await SealedLog.open(inMemory(seal(chunks)));
        const last = chunks.at(-1);
        const lines = (last?.line ?? 0) + (given.at(-1)?.[1].split('\n').length ?? 1) - 1;
        for (let line = 1; line <= lines; line++) {
          const chunk = await log.chunkOfLine(line);
          const inside = chunk ? inflate(chunk).filter((byte) => byte === 0x0a).length : 0;
          expect(line - (chunk?.line ?? 0)).toBeGreaterThan(0);
          expect(line - (chunk?.line ?? 0)).toBeLessThanOrEqual(inside);
        }
        const tails = await log.tails(cut);
        for (const [n, stream] of STREAMS.entries()) {
          const before = chunks
            .filter((chunk) => chunk.stream === stream)
            .map((chunk) => inflate(chunk).subarray(0, Math.max(0, cut - chunk.offset)));
          const whole = Buffer.concat(before);
          const tail = tails.get(stream) ?? Buffer.alloc(0);
          expect(whole.subarray(whole.length - tail.length)).toEqual(tail);
          expect(tail.length).toBeGreaterThanOrEqual(Math.min(3, whole.length));
          expect(n).toBeLessThan(3);
        }
      }),
    );
  });

  it('with more chunks than are looked at together is searched the same', async () => {
    const chunks = stored(Array.from({ length: 5000 }, (_, n): Piece => [n % 2, `${n}\n`]));
    const log = await SealedLog.open(inMemory(seal(chunks)));
    for (const n of [0, 1, 511, 512, 513, 2500, 4998, 4999]) {
      const chunk = chunks[n];
      const [found] = (await log.page(chunk?.offset ?? 0, { chunks: 1, bytes: 1 })).chunks;
      expect(found).toEqual(chunk);
      expect(await log.chunkOfLine(n + 1)).toEqual(chunk);
    }
    // The only piece of a stream, far before.
    const lone = stored([[2, '€'], ...Array.from({ length: 2000 }, (): Piece => [1, 'x'])]);
    const far = await SealedLog.open(inMemory(seal(lone)));
    expect((await far.tails(1500)).get('stderr')?.toString()).toBe('€');
  });

  it('that is cut off, or is something else, is refused', async () => {
    const bytes = seal(stored([[1, 'hello\n']]));
    for (const bad of [bytes.subarray(0, -1), bytes.subarray(0, 10), Buffer.alloc(0)])
      await expect(SealedLog.open(inMemory(bad))).rejects.toThrow('cut off');
    const other = Buffer.from(bytes);
    other.writeUInt32LE(9, other.length - 56);
    await expect(SealedLog.open(inMemory(other))).rejects.toThrow('format 9');
  });
});
