/**
 * The bytes of a spool record: `u32 length of the body | u32 CRC-32 of all that follows | u32 seq | u8 kind | body`,
 * big endian. A record whose length runs past the end of the file, or whose checksum is wrong, was being written
 * when the process or the machine died: it and all behind it are cut off.
 *
 * Bodies: an event is JSON `{atMs, event}`. A log chunk is `u64 raw end | u64 masked end | wire frame`: the two
 * ends count the bytes of the chunk's stream, as the engine counts them (before masking) and as the farm does;
 * the frame goes to the master as it is, so a chunk never changes once it is here. A checkpoint is JSON, the first
 * record of each segment, carries the number of the record before it, and tells what trimmed segments told.
 */
import { decodeFrame, encodeFrame, type BuildEvent, type LogFrame } from '@impgem/protocol';
import { crc32 } from 'node:zlib';

const HEADER_BYTES = 13;
/** Nothing that we write comes near; a bigger length is damage. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;
const KINDS = ['checkpoint', 'event', 'log'] as const;

/** What a reader that starts in the middle must know. */
export interface Progress {
  started: boolean;
  finished: boolean;
  /** Steps that ended: 0 … `steps` − 1. */
  steps: number;
  /** Whether the step after them has begun. */
  open: boolean;
  /** Bytes of the open step's log. */
  logBytes: number;
  /** Of the open step, by stream: bytes taken from the engine, bytes written. */
  ends: Partial<Record<LogFrame['stream'], { raw: number; masked: number }>>;
}

export const NOTHING: Progress = {
  started: false,
  finished: false,
  steps: 0,
  open: false,
  logBytes: 0,
  ends: {},
};

/** A log chunk without its number, which the journal gives. */
export interface LogRecord {
  kind: 'log';
  frame: Omit<LogFrame, 'seq'>;
  /** Bytes of the stream, before masking, up to the end of this chunk. */
  rawEnd: number;
  /** The same after masking. */
  maskedEnd: number;
}
export interface EventRecord {
  kind: 'event';
  atMs: number;
  event: BuildEvent;
}
export type NewRecord = LogRecord | EventRecord;

/** As it is read back; `bytes` of a log record are its wire frame. */
export type SpoolRecord =
  | { kind: 'event'; seq: number; atMs: number; event: BuildEvent; size: number }
  | { kind: 'log'; seq: number; rawEnd: number; maskedEnd: number; bytes: Buffer; size: number }
  | { kind: 'checkpoint'; seq: number; progress: Progress; size: number };

export function encodeRecord(
  seq: number,
  record: NewRecord | { kind: 'checkpoint'; progress: Progress },
): Buffer {
  const body = bodyOf(seq, record);
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + body.length);
  bytes.writeUInt32BE(body.length, 0);
  bytes.writeUInt32BE(seq, 8);
  bytes.writeUInt8(KINDS.indexOf(record.kind), 12);
  body.copy(bytes, HEADER_BYTES);
  bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4);
  return bytes;
}

function bodyOf(
  seq: number,
  record: NewRecord | { kind: 'checkpoint'; progress: Progress },
): Buffer {
  if (record.kind === 'checkpoint') return Buffer.from(JSON.stringify(record.progress));
  if (record.kind === 'event')
    return Buffer.from(JSON.stringify({ atMs: record.atMs, event: record.event }));
  const ends = Buffer.allocUnsafe(16);
  ends.writeBigUInt64BE(BigInt(record.rawEnd), 0);
  ends.writeBigUInt64BE(BigInt(record.maskedEnd), 8);
  return Buffer.concat([ends, encodeFrame({ ...record.frame, seq })]);
}

/** The record at `at`, or undefined when there is no whole and sound one. A log record's bytes are a view. */
export function decodeRecord(bytes: Buffer, at: number): SpoolRecord | undefined {
  const size = sizeAt(bytes, at);
  if (size === undefined || at + size > bytes.length) return undefined;
  if (bytes.readUInt32BE(at + 4) !== crc32(bytes.subarray(at + 8, at + size))) return undefined;
  const seq = bytes.readUInt32BE(at + 8);
  const body = bytes.subarray(at + HEADER_BYTES, at + size);
  switch (KINDS[bytes.readUInt8(at + 12)]) {
    case 'checkpoint':
      return { kind: 'checkpoint', seq, progress: JSON.parse(body.toString()) as Progress, size };
    case 'event':
      return {
        kind: 'event',
        seq,
        ...(JSON.parse(body.toString()) as { atMs: number; event: BuildEvent }),
        size,
      };
    case 'log':
      return {
        kind: 'log',
        seq,
        rawEnd: Number(body.readBigUInt64BE(0)),
        maskedEnd: Number(body.readBigUInt64BE(8)),
        bytes: body.subarray(16),
        size,
      };
    default:
      return undefined;
  }
}

/** The whole size of the record at `at`; undefined when its header is cut or cannot be right. */
export function sizeAt(bytes: Buffer, at: number): number | undefined {
  if (at + HEADER_BYTES > bytes.length) return undefined;
  const length = bytes.readUInt32BE(at);
  return length > MAX_BODY_BYTES ? undefined : HEADER_BYTES + length;
}

/** What is known after a record, from what was known before it. */
export function advance(progress: Progress, record: SpoolRecord | NewRecord): Progress {
  if (record.kind === 'checkpoint') return record.progress;
  if (record.kind === 'log') {
    const frame = 'frame' in record ? record.frame : decodeFrame(record.bytes);
    if (frame.kind !== 'log') return progress;
    const { rawEnd: raw, maskedEnd: masked } = record;
    const ends = { ...progress.ends, [frame.stream]: { raw, masked } };
    return { ...progress, logBytes: frame.offset + frame.length, ends };
  }
  switch (record.event.kind) {
    case 'build.started':
      return { ...progress, started: true };
    case 'step.started':
      return { ...progress, steps: record.event.step, open: true, logBytes: 0, ends: {} };
    case 'step.finished':
      return { ...progress, steps: record.event.step + 1, open: false, logBytes: 0, ends: {} };
    case 'build.finished':
      return { ...progress, finished: true };
    case 'property.set':
      return progress;
  }
}
