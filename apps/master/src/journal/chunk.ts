import { constants, crc32, inflateRaw, inflateRawSync } from 'node:zlib';
import type { LogFrame } from '@impgem/protocol';

/** Bytes of a chunk before compression, at most; the worker cuts at 64 KiB. */
const CHUNK_LIMIT = 1024 * 1024;

/** What a look into a chunk found: how many newlines, or why it is none of ours. */
export type CheckedChunk = { newlines: number } | { problem: string };

/** So small that handing it to a thread costs more than inflating it. */
const SMALL = 8 * 1024;
const NEWLINE = 0x0a;

/**
 * Inflates a chunk, bounded by its declared length, and checks it against length and CRC-32. Never rejects.
 */
export async function checkChunk(frame: LogFrame): Promise<CheckedChunk> {
  if (frame.length > CHUNK_LIMIT)
    return { problem: `a chunk has at most ${CHUNK_LIMIT} bytes, this one ${frame.length}` };
  // The chunk ends with a flush, not with a final block.
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: frame.length || 1 };
  let bytes: Buffer;
  try {
    bytes =
      frame.length <= SMALL
        ? inflateRawSync(frame.payload, options)
        : await new Promise<Buffer>((resolve, reject) => {
            inflateRaw(frame.payload, options, (error, result) =>
              error ? reject(error) : resolve(result),
            );
          });
  } catch (error) {
    return { problem: `a chunk does not inflate: ${(error as Error).message}` };
  }
  if (bytes.length !== frame.length)
    return { problem: `a chunk of ${frame.length} bytes inflates to ${bytes.length}` };
  if (crc32(bytes) !== frame.crc32) return { problem: 'a chunk has another CRC-32 than it says' };
  return { newlines: countNewlines(bytes) };
}

function countNewlines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}
