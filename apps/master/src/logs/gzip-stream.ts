import { crc32Combine } from '@impgem/kit';

/** A stored chunk: raw deflate that ends with a full flush, and the facts about what it inflates to. */
export interface DeflatedChunk {
  data: Uint8Array;
  /** Bytes before compression. */
  length: number;
  /** CRC-32 of those bytes. */
  crc32: number;
}

/** RFC 1952: deflate, no flags, no time, unknown system. */
export const GZIP_HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);
/** An empty final block with fixed codes: what a chunk lacks to be a whole deflate stream. */
const FINAL_BLOCK = [0x03, 0x00];

/** What a gzip stream of chunks ends with. */
export class GzipSum {
  #crc = 0;
  #length = 0;

  /** Bytes before compression. */
  get length(): number {
    return this.#length;
  }

  add({ crc32, length }: Pick<DeflatedChunk, 'crc32' | 'length'>): void {
    this.#crc = crc32Combine(this.#crc, crc32, length);
    this.#length += length;
  }

  trailer(): Buffer {
    const trailer = Buffer.from([...FINAL_BLOCK, 0, 0, 0, 0, 0, 0, 0, 0]);
    trailer.writeUInt32LE(this.#crc, 2);
    trailer.writeUInt32LE(this.#length % 2 ** 32, 6);
    return trailer;
  }
}

/**
 * One gzip stream out of chunks as they are stored: nothing is inflated or compressed again. It is ONE member,
 * since browsers and curl read only the first.
 */
export async function* gzipStream(
  chunks: AsyncIterable<DeflatedChunk>,
): AsyncGenerator<Uint8Array> {
  const sum = new GzipSum();
  yield GZIP_HEADER;
  for await (const chunk of chunks) {
    sum.add(chunk);
    yield chunk.data;
  }
  yield sum.trailer();
}

/** Whether an `Accept-Encoding` header takes gzip (RFC 9110, 12.5.3). */
export function acceptsGzip(header: string | undefined): boolean {
  let any = false;
  for (const item of (header ?? '').toLowerCase().split(',')) {
    const [coding, ...parameters] = item.split(';').map((part) => part.trim());
    const weight = parameters.find((parameter) => parameter.startsWith('q='));
    const taken = weight === undefined || Number(weight.slice(2)) > 0;
    if (coding === 'gzip' || coding === 'x-gzip') return taken;
    if (coding === '*') any = taken;
  }
  return any;
}
