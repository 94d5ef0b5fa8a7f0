import type { StreamName } from '@impgem/protocol';
import { createHash, type Hash } from 'node:crypto';

/** Bytes of a chunk, at most. */
export const CHUNK_BYTES = 64 * 1024;
/** The longest that a byte waits for company. */
export const CHUNK_WAIT_MS = 100;
/**
 * Changes between streams that are cut exactly, in each wait; beyond that, each stream is collected apart until
 * its time is up, or a program that alternates would make a chunk of every line.
 */
const EXACT_SWITCHES = 16;

/** A piece of a step's log, final: masked, its place known. */
export interface Chunk {
  stream: StreamName;
  bytes: Buffer;
  /** Where it begins in the log, all streams together. */
  offset: number;
  /** Bytes of its stream up to its end, before and after masking. */
  rawEnd: number;
  maskedEnd: number;
  /** By the clock given, when its first byte came. */
  at: number;
}

/**
 * Takes secrets out of one stream. What may be the beginning of a secret is held back until the next call, so
 * `rawEnd` counts the raw bytes that the masked ones given out so far stand for.
 */
export interface Mask {
  take(bytes: Uint8Array): { masked: Uint8Array; rawEnd: number };
  /** The stream is over: what was held back. */
  end(): { masked: Uint8Array; rawEnd: number };
}

/** For builds without secrets. */
export function noMask(): Mask {
  let rawEnd = 0;
  return {
    take: (bytes) => ({ masked: bytes, rawEnd: (rawEnd += bytes.length) }),
    end: () => ({ masked: new Uint8Array(0), rawEnd }),
  };
}

interface Lane {
  name: StreamName;
  mask: Mask;
  hash: Hash;
  waiting: Buffer;
  length: number;
  /** When the first waiting byte came. */
  since: number;
  /** Masked bytes that came in, and that were cut. */
  maskedIn: number;
  maskedEnd: number;
  /** By how much raw bytes exceed masked ones, from a place on; the first holds where the next cut begins. */
  marks: { from: number; delta: number }[];
  timer: NodeJS.Timeout | undefined;
}

/** What a log came to. */
export interface LogSum {
  bytes: number;
  /** Hex, of the streams that wrote something. */
  sha256: Partial<Record<StreamName, string>>;
}

/**
 * Cuts the output of one step into chunks: at 64 KiB, or 100 ms after the first waiting byte, or at once when
 * nothing was cut for so long. Never by an idle timer: steady dripping would starve it. Within a stream the order
 * is exact. Where both streams are in use, a cut falls behind a newline if there is one, so that lines of one
 * are not torn by the other.
 *
 * `take` gets the chunks in the order of the log. Nothing here waits: back-pressure is the business of the caller.
 */
export class Chunker {
  private readonly lanes = new Map<StreamName, Lane>();
  private offset = 0;
  private lastCut = -Infinity;
  private windowStart = -Infinity;
  private switches = 0;
  private current: StreamName | undefined;

  constructor(
    private readonly take: (chunk: Chunk) => void,
    private readonly now: () => number = () => performance.now(),
    private readonly mask: () => Mask = noMask,
  ) {}

  /** Takes bytes as they come; they are copied. */
  write(stream: StreamName, bytes: Uint8Array): void {
    const lane = this.lane(stream);
    const { masked, rawEnd } = lane.mask.take(bytes);
    if (this.current !== stream) this.turnTo(stream);
    this.collect(lane, masked, rawEnd);
    if (lane.length === 0) return;
    if (this.now() - this.lastCut >= CHUNK_WAIT_MS) this.cut(lane, lane.length);
    else this.arm(lane);
  }

  /** The output is over: cuts what waits, and tells what it all came to. */
  end(): LogSum {
    for (const lane of this.byAge()) {
      const { masked, rawEnd } = lane.mask.end();
      this.collect(lane, masked, rawEnd);
      if (lane.length > 0) this.cut(lane, lane.length);
      clearTimeout(lane.timer);
    }
    const wrote = [...this.lanes.values()].filter((lane) => lane.maskedEnd > 0);
    const sha256 = Object.fromEntries(wrote.map((lane) => [lane.name, lane.hash.digest('hex')]));
    return { bytes: this.offset, sha256 };
  }

  private lane(name: StreamName): Lane {
    let lane = this.lanes.get(name);
    if (!lane) {
      lane = {
        name,
        mask: this.mask(),
        hash: createHash('sha256'),
        waiting: Buffer.allocUnsafe(CHUNK_BYTES),
        length: 0,
        since: 0,
        maskedIn: 0,
        maskedEnd: 0,
        marks: [{ from: 0, delta: 0 }],
        timer: undefined,
      };
      this.lanes.set(name, lane);
    }
    return lane;
  }

  private collect(lane: Lane, bytes: Uint8Array, rawEnd: number): void {
    const end = lane.maskedIn + bytes.length;
    const delta = rawEnd - end;
    if (lane.marks.at(-1)?.delta !== delta) lane.marks.push({ from: end, delta });
    for (let at = 0; at < bytes.length;) {
      if (lane.length === 0) lane.since = this.now();
      const part = bytes.subarray(at, at + CHUNK_BYTES - lane.length);
      lane.waiting.set(part, lane.length);
      lane.length += part.length;
      lane.maskedIn += part.length;
      at += part.length;
      if (lane.length === CHUNK_BYTES) this.cut(lane, this.lineEnd(lane) || lane.length);
    }
  }

  /** Another stream speaks: what the others have said goes first, as far as it is whole lines. */
  private turnTo(stream: StreamName): void {
    this.current = stream;
    const now = this.now();
    if (now - this.windowStart >= CHUNK_WAIT_MS) {
      this.windowStart = now;
      this.switches = 0;
    }
    this.switches += 1;
    if (this.switches > EXACT_SWITCHES) return;
    for (const lane of this.byAge())
      if (lane.name !== stream && lane.length > 0) this.cut(lane, this.lineEnd(lane));
  }

  private arm(lane: Lane): void {
    if (lane.timer !== undefined) return;
    const wait = Math.max(0, lane.since + CHUNK_WAIT_MS - this.now());
    lane.timer = setTimeout(() => {
      lane.timer = undefined;
      this.due();
    }, wait);
  }

  /** Cuts all lanes whose time is up, oldest first. */
  private due(): void {
    const others = this.byAge().filter((lane) => lane.length > 0);
    for (const lane of others) {
      if (this.now() - lane.since < CHUNK_WAIT_MS - 1) {
        this.arm(lane);
        continue;
      }
      const lines = others.length > 1 ? this.lineEnd(lane) : 0;
      this.cut(lane, lines || lane.length);
      if (lane.length > 0) this.arm(lane);
    }
  }

  private byAge(): Lane[] {
    return [...this.lanes.values()].sort((a, b) => a.since - b.since);
  }

  /** How much of what waits is whole lines. */
  private lineEnd(lane: Lane): number {
    return lane.waiting.subarray(0, lane.length).lastIndexOf(10) + 1;
  }

  private cut(lane: Lane, length: number): void {
    if (length === 0) return;
    const bytes = Buffer.from(lane.waiting.subarray(0, length));
    lane.hash.update(bytes);
    lane.waiting.copyWithin(0, length, lane.length);
    lane.length -= length;
    lane.maskedEnd += length;
    const at = lane.since;
    lane.since = this.lastCut = this.now();
    const { name: stream, maskedEnd } = lane;
    const rawEnd = this.rawAt(lane);
    this.take({ stream, bytes, offset: this.offset, rawEnd, maskedEnd, at });
    this.offset += length;
  }

  /** The raw bytes that stand behind what was cut; within a masked secret it is its beginning or its end. */
  private rawAt(lane: Lane): number {
    while (lane.marks.length > 1 && (lane.marks[1]?.from ?? Infinity) <= lane.maskedEnd)
      lane.marks.shift();
    return lane.maskedEnd + (lane.marks[0]?.delta ?? 0);
  }
}
