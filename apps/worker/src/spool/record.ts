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
import { crc32Combine } from '@impgem/kit';
import type { Result } from '@impgem/pipeline';
import {
  decodeFrame,
  encodeFrame,
  type BuildEvent,
  type LogFrame,
  type Reason,
} from '@impgem/protocol';
import { constants, crc32, inflateRawSync } from 'node:zlib';

const HEADER_BYTES = 13;
/** Nothing that we write comes near; a bigger length is damage. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;
const KINDS = ['checkpoint', 'event', 'log'] as const;

/** What a reader that starts in the middle must know. */
export interface Progress {
  started: boolean;
  finished: boolean;
  /** How the steps ended that did, from the first on. */
  endings: readonly { result: Result; reason?: Reason }[];
  /** The step after them, if it has begun. */
  open?: OpenStep;
}

/** How far the journal tells of a step that has not ended. */
export interface OpenStep {
  /** Its beginning, in milliseconds after the build's zero of time. */
  atMs: number;
  log: LogState;
  /** Of a checkout: what the workspace holds by now, whole. */
  revision?: string;
}

/** How far a stream has come, what was left out for want of room included. */
export interface StreamEnd {
  /** Bytes taken from the engine, and what they are after masking. */
  raw: number;
  masked: number;
  /** So many masked bytes are in the log without a gap, from the first on; and the CRC-32 of those. */
  unbroken: number;
  crc32: number;
}

/** A log as far as it is in the journal; enough to go on with it although its chunks were trimmed. */
export interface LogState {
  /** All streams together. */
  bytes: number;
  /** How far each stream has come. */
  ends: Partial<Record<LogFrame['stream'], StreamEnd>>;
  /**
   * What the farm itself said, one character a byte: unlike a step's output it cannot be had again, and a
   * SHA-256 cannot be begun in the middle. Absent when it is longer than `SYSTEM_BYTES`.
   */
  system?: string;
}

/** The property that a checkout sets, as the last thing that it does. */
export const REVISION = 'got_revision';
/** The farm's own words that are kept for the checksum; more than that is a log without one, if it is resumed. */
const SYSTEM_BYTES = 64 * 1024;

export const NOTHING: Progress = {
  started: false,
  finished: false,
  endings: [],
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
  const head = { seq: bytes.readUInt32BE(at + 8), size };
  const kind = KINDS[bytes.readUInt8(at + 12)];
  try {
    return kind && { ...head, ...readBody(kind, bytes.subarray(at + HEADER_BYTES, at + size)) };
  } catch {
    // A checksum of 32 bits does not prove everything.
    return undefined;
  }
}

type Body =
  | { kind: 'checkpoint'; progress: Progress }
  | { kind: 'event'; atMs: number; event: BuildEvent }
  | { kind: 'log'; rawEnd: number; maskedEnd: number; bytes: Buffer };

function readBody(kind: (typeof KINDS)[number], body: Buffer): Body {
  switch (kind) {
    case 'checkpoint':
      return { kind, progress: JSON.parse(body.toString()) as Progress };
    case 'event':
      return { kind, ...(JSON.parse(body.toString()) as { atMs: number; event: BuildEvent }) };
    case 'log': {
      const [rawEnd, maskedEnd] = [0, 8].map((at) => Number(body.readBigUInt64BE(at)));
      return { kind, rawEnd: rawEnd ?? 0, maskedEnd: maskedEnd ?? 0, bytes: body.subarray(16) };
    }
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
    const { open } = progress;
    return open
      ? { ...progress, open: { ...open, log: longer(open.log, frame, record) } }
      : progress;
  }
  const { atMs, event } = record;
  switch (event.kind) {
    case 'build.started':
      return { ...progress, started: true };
    case 'step.started':
      return { ...progress, open: { atMs, log: { bytes: 0, ends: {}, system: '' } } };
    case 'step.finished': {
      const { open: _, ...rest } = progress;
      const { result, reason } = event;
      const ending = { result, ...(reason ? { reason } : {}) };
      return { ...rest, endings: [...progress.endings, ending] };
    }
    case 'build.finished':
      return { ...progress, finished: true };
    case 'property.set': {
      const { open } = progress;
      if (!open || event.name !== REVISION) return progress;
      return { ...progress, open: { ...open, revision: event.value } };
    }
  }
}

/** A log and one chunk more. */
function longer(
  log: LogState,
  frame: Omit<LogFrame, 'seq'>,
  { rawEnd: raw, maskedEnd: masked }: { rawEnd: number; maskedEnd: number },
): LogState {
  const { stream, length } = frame;
  const before = log.ends[stream] ?? { masked: 0, unbroken: 0, crc32: 0 };
  const joins = before.unbroken === before.masked && masked === before.masked + length;
  const end = joins
    ? { raw, masked, unbroken: masked, crc32: crc32Combine(before.crc32, frame.crc32, length) }
    : { raw, masked, unbroken: before.unbroken, crc32: before.crc32 };
  const bytes = frame.offset + length;
  const { system, ...rest } = { ...log, bytes, ends: { ...log.ends, [stream]: end } };
  if (system === undefined || (stream === 'system' && masked > SYSTEM_BYTES)) return rest;
  return { ...rest, system: stream === 'system' ? system + textOf(frame) : system };
}

function textOf({ payload }: Pick<LogFrame, 'payload'>): string {
  return inflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH }).toString('latin1');
}
