import { constants, inflateRawSync } from 'node:zlib';
import { invariant } from '@impgem/kit';
import type { StreamName } from '@impgem/protocol';

/** What is known of a chunk without its bytes. */
export interface ChunkInfo {
  stream: StreamName;
  /** Where it begins in its log, all streams together. */
  offset: number;
  /** Bytes before compression. */
  length: number;
  /** Newlines of the log before it. */
  line: number;
  crc32: number;
  at: Date;
}

/** A chunk as it is stored. */
export interface StoredChunk extends ChunkInfo {
  /** Raw deflate that ends with a full flush. */
  data: Buffer;
}

/** The bytes of a chunk. */
export function inflate(chunk: Pick<StoredChunk, 'data' | 'length'>): Buffer {
  // The chunk has no final block: it ends with a flush.
  const bytes = inflateRawSync(chunk.data, {
    finishFlush: constants.Z_SYNC_FLUSH,
    maxOutputLength: Math.max(1, chunk.length),
  });
  invariant(bytes.length === chunk.length, 'a stored chunk inflates to the length it claims');
  return bytes;
}
