import { randomBytes } from 'node:crypto';
import { crc32, inflateRawSync } from 'node:zlib';
import { CHUNK_BYTES, mostPayload, type LogFrame } from '@impgem/protocol';

/** What a look into a chunk found: how many newlines, or why it is none of ours. */
export type CheckedChunk = { newlines: number } | { problem: string };

const NEWLINE = 0x0a;
/** What a full flush leaves at the end: the lengths of an empty stored block. */
const FLUSH_END = Buffer.from([0x00, 0x00, 0xff, 0xff]);
/** Nobody outside of this process knows it. */
const PROBE = randomBytes(8);
/** In place of `FLUSH_END`: a stored block of the probe, then a final one without bytes. */
const PROBE_END = Buffer.concat([
  Buffer.from([PROBE.length, 0x00, 0xff - PROBE.length, 0xff]),
  PROBE,
  Buffer.from([0x01, 0x00, 0x00, 0xff, 0xff]),
]);

/**
 * Whether a chunk is one that a worker of ours makes, so that it can be strung together with others: its payload is raw
 * deflate that inflates, all of it, to the length and CRC-32 that it claims, has no final block, ends with a full flush, and
 * is no longer than such content can make it.
 *
 * How it ends is proven by writing on in it: where the empty stored block of the flush stands another one is put, with
 * bytes that nobody could foresee, and a final block. Only a stream that stood at that place, between two blocks, gives
 * them back and ends there.
 *
 * Here and not in the thread pool: the way there and back costs more than inflating 64 KiB of text does (40 to 150 µs).
 */
export function checkChunk({ length, payload, crc32: sum }: LogFrame): CheckedChunk {
  if (length === 0) return { problem: 'a chunk has at least one byte' };
  if (length > CHUNK_BYTES)
    return { problem: `a chunk has at most ${CHUNK_BYTES} bytes, this one ${length}` };
  if (payload.length > mostPayload(length))
    return { problem: `${payload.length} bytes are too many for a chunk of ${length}` };
  const end = payload.length - FLUSH_END.length;
  if (end < 1 || !FLUSH_END.equals(payload.subarray(end)))
    return { problem: 'a chunk ends with a full flush' };
  const whole = Buffer.concat([payload.subarray(0, end), PROBE_END]);
  const most = length + PROBE.length;
  let bytes: Buffer;
  let used: number;
  try {
    const inflated = inflateRawSync(whole, { info: true, maxOutputLength: most });
    ({ buffer: bytes, used } = inflatedOf(inflated));
  } catch (error) {
    return { problem: `a chunk does not inflate: ${(error as Error).message}` };
  }
  if (used !== whole.length || !PROBE.equals(bytes.subarray(-PROBE.length)))
    return { problem: 'a chunk has a final block, or bytes behind its end' };
  if (bytes.length !== most)
    return { problem: `a chunk of ${length} bytes inflates to ${bytes.length - PROBE.length}` };
  const content = bytes.subarray(0, length);
  if (crc32(content) !== sum) return { problem: 'a chunk has another CRC-32 than it says' };
  return { newlines: countNewlines(content) };
}

/** The types of Node do not know what `info` gives. */
function inflatedOf(inflated: unknown): { buffer: Buffer; used: number } {
  const { buffer, engine } = inflated as { buffer: Buffer; engine: { bytesWritten: number } };
  return { buffer, used: engine.bytesWritten };
}

function countNewlines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}
