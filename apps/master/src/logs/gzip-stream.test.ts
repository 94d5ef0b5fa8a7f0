import { constants, crc32, deflateRawSync, gunzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { crc32Combine } from '@impgem/kit';
import { acceptsGzip, gzipStream, type DeflatedChunk } from './gzip-stream.js';

const stored = (bytes: Uint8Array): DeflatedChunk => ({
  data: deflateRawSync(bytes, { finishFlush: constants.Z_FULL_FLUSH }),
  length: bytes.length,
  crc32: crc32(bytes),
});

async function* each<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

describe('crc32Combine', () => {
  it('is the CRC-32 of the whole, for any cut', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (a, b) => {
        expect(crc32Combine(crc32(a), crc32(b), b.length)).toBe(crc32(Buffer.concat([a, b])));
      }),
    );
  });

  it('is associative, also for lengths beyond 32 bits', () => {
    const length = fc.integer({ min: 0, max: 2 ** 40 });
    const sum = fc.nat({ max: 0xffffffff });
    fc.assert(
      fc.property(sum, sum, sum, length, length, (a, b, c, nb, nc) => {
        expect(crc32Combine(crc32Combine(a, b, nb), c, nc)).toBe(
          crc32Combine(a, crc32Combine(b, c, nc), nb + nc),
        );
      }),
    );
  });
});

describe('a gzip stream of stored chunks', () => {
  it('inflates to the bytes of the log, whatever the chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 500 })),
        async (chunks) => {
          const gzip = await collect(gzipStream(each(chunks.map(stored))));
          expect(gunzipSync(gzip).equals(Buffer.concat(chunks))).toBe(true);
        },
      ),
    );
  });

  it('holds the chunks as they are stored', async () => {
    const chunk = stored(Buffer.from('hello\n'.repeat(1000)));
    const gzip = await collect(gzipStream(each([chunk, chunk])));
    expect(gzip.indexOf(chunk.data)).toBe(10);
    expect(gzip.length).toBe(10 + 2 * chunk.data.length + 2 + 8);
  });
});

describe('acceptsGzip', () => {
  it.each([
    ['gzip, deflate, br', true],
    ['GZIP;q=0.5', true],
    ['gzip;q=0', false],
    ['gzip; q=0.0, *', false],
    ['*', true],
    ['*;q=0', false],
    ['identity', false],
    [undefined, false],
  ])('of %s is %s', (header, expected) => {
    expect(acceptsGzip(header)).toBe(expected);
  });
});
