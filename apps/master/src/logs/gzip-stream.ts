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
const HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);
/** An empty final block with fixed codes: what a chunk lacks to be a whole deflate stream. */
const FINAL_BLOCK = Uint8Array.of(0x03, 0x00);

/**
 * One gzip stream out of chunks as they are stored: nothing is inflated or compressed again. It is ONE member,
 * since browsers and curl read only the first.
 */
export async function* gzipStream(
  chunks: AsyncIterable<DeflatedChunk>,
): AsyncGenerator<Uint8Array> {
  let crc = 0;
  let length = 0;
  yield HEADER;
  for await (const chunk of chunks) {
    crc = crc32Combine(crc, chunk.crc32, chunk.length);
    length += chunk.length;
    yield chunk.data;
  }
  const trailer = new DataView(new ArrayBuffer(8));
  trailer.setUint32(0, crc, true);
  trailer.setUint32(4, length % 2 ** 32, true);
  yield FINAL_BLOCK;
  yield new Uint8Array(trailer.buffer);
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
