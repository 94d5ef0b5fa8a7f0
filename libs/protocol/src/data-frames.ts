/**
 * Binary frames: 40 bytes of header, big endian, then the payload. They are never parsed as JSON.
 *
 * | at | type | field |
 * |---|---|---|
 * | 0 | u8 | kind: 1 log chunk, 2 artifact block |
 * | 1 | u8 | stream of a log chunk: 0 system, 1 stdout, 2 stderr; 0 for an artifact |
 * | 2 | u16 | index: the step of a log chunk, the number of an artifact |
 * | 4 | u32 | epoch |
 * | 8 | u64 | build |
 * | 16 | u64 | offset in bytes: of the chunk in its log (all streams together), of the block in its artifact |
 * | 24 | u32 | sequence in the build's journal (log chunks), else 0 |
 * | 28 | u32 | length in bytes before compression |
 * | 32 | u32 | CRC-32 of the bytes before compression |
 * | 36 | u32 | milliseconds from the build's start to the first byte of the chunk (log chunks) |
 */
export const HEADER_BYTES = 40;

/** Bytes of a log chunk before compression, at most. */
export const CHUNK_BYTES = 64 * 1024;

/**
 * Bytes of a chunk's payload, at most. What does not compress is stored as it is, in blocks of 16 KiB at the least with 5
 * bytes for each, and the flush adds 5: 25 bytes for 64 KiB. Other settings than ours may need more; so this is ample.
 */
export function mostPayload(length: number): number {
  return length + Math.floor(length / 1024) + 64;
}

export const STREAMS = ['system', 'stdout', 'stderr'] as const;
/** `system` is what the farm itself says in a step's log: the command, a pull's progress, why a step was stopped. */
export type StreamName = (typeof STREAMS)[number];

export interface LogFrame {
  kind: 'log';
  build: number;
  epoch: number;
  /** Sequence in the build's journal. */
  seq: number;
  step: number;
  stream: StreamName;
  /** Where the chunk begins in its log, in (masked) bytes, all streams together. */
  offset: number;
  /** Bytes before compression. */
  length: number;
  /** CRC-32 of those bytes. */
  crc32: number;
  /** Milliseconds after the build's start at which the first byte of the chunk came. */
  atMs: number;
  /** Raw deflate that ends with a full flush (not with a final block), so that chunks can be strung together. */
  payload: Uint8Array;
}

export interface ArtifactFrame {
  kind: 'artifact';
  build: number;
  epoch: number;
  /** The artifact's number in its build, as offered. */
  artifact: number;
  /** Where the block begins in the file, in bytes. */
  offset: number;
  payload: Uint8Array;
}

export type DataFrame = LogFrame | ArtifactFrame;

/** A binary frame that cannot be one of ours. */
export class FrameError extends Error {
  override name = 'FrameError';
}

export function encodeFrame(frame: DataFrame): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + frame.payload.length);
  writeHeader(bytes, frame);
  bytes.set(frame.payload, HEADER_BYTES);
  return bytes;
}

/** Writes the header of a frame into the first `HEADER_BYTES` of `bytes`: for a payload that lies behind them already. */
export function writeHeader(
  bytes: Uint8Array,
  frame: Omit<LogFrame, 'payload'> | Omit<ArtifactFrame, 'payload'>,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const log = frame.kind === 'log';
  view.setUint8(0, log ? 1 : 2);
  view.setUint8(1, log ? STREAMS.indexOf(frame.stream) : 0);
  view.setUint16(2, log ? frame.step : frame.artifact);
  view.setUint32(4, frame.epoch);
  view.setBigUint64(8, BigInt(frame.build));
  view.setBigUint64(16, BigInt(frame.offset));
  view.setUint32(24, log ? frame.seq : 0);
  view.setUint32(28, log ? frame.length : 0);
  view.setUint32(32, log ? frame.crc32 : 0);
  view.setUint32(36, log ? frame.atMs : 0);
}

/** Throws `FrameError` with what is wrong. The payload is a view into `bytes`. */
export function decodeFrame(bytes: Uint8Array): DataFrame {
  if (bytes.length < HEADER_BYTES)
    throw new FrameError(
      `a data frame has at least ${HEADER_BYTES} bytes, this one ${bytes.length}`,
    );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = view.getUint8(0);
  const common = {
    epoch: view.getUint32(4),
    build: safe(view.getBigUint64(8), 'build'),
    offset: safe(view.getBigUint64(16), 'offset'),
    payload: bytes.subarray(HEADER_BYTES),
  };
  if (kind === 2) return { kind: 'artifact', artifact: view.getUint16(2), ...common };
  if (kind !== 1) throw new FrameError(`data frame of unknown kind ${kind}`);
  const stream = STREAMS[view.getUint8(1)];
  if (!stream) throw new FrameError(`log chunk of unknown stream ${view.getUint8(1)}`);
  return {
    kind: 'log',
    stream,
    step: view.getUint16(2),
    seq: view.getUint32(24),
    length: view.getUint32(28),
    crc32: view.getUint32(32),
    atMs: view.getUint32(36),
    ...common,
  };
}

function safe(value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FrameError(`${what} ${value} is too big`);
  return Number(value);
}
