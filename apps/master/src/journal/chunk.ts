import { constants, crc32, inflateRawSync } from 'node:zlib';
import { CHUNK_BYTES, type LogFrame } from '@impgem/protocol';

/** What a look into a chunk found: how many newlines, or why it is none of ours. */
export type CheckedChunk = { newlines: number } | { problem: string };

const NEWLINE = 0x0a;

/**
 * Inflates a chunk, bounded by its declared length, and checks it against length and CRC-32. Here and not in the thread
 * pool: the way there and back costs more than inflating 64 KiB of text does (40 to 150 µs).
 */
export function checkChunk(frame: LogFrame): CheckedChunk {
  if (frame.length > CHUNK_BYTES)
    return { problem: `a chunk has at most ${CHUNK_BYTES} bytes, this one ${frame.length}` };
  // The chunk ends with a flush, not with a final block.
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: frame.length || 1 };
  let bytes: Buffer;
  try {
    bytes = inflateRawSync(frame.payload, options);
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
