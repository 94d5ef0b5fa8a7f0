import { CHUNK_BYTES, type StreamName } from '@impgem/protocol';
import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { LogState } from '../spool/index.js';

/** The longest that a byte waits for company. */
export const CHUNK_WAIT_MS = 50;
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
  /** Of all masked bytes; none when the log does not have them all, or they cannot be had again. */
  hash: Hash | undefined;
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
  /** Of bytes that an earlier process had already: how many are still to come again. */
  again: number;
  /** Of those: how many are still to come of the ones whose CRC-32 is known, and what it is so far. */
  unproven: number;
  crc: number;
  /** What came again is not what it was. */
  differs: boolean;
  /** Bytes left out for want of room since the last that were kept. */
  gap: number;
}

/** What a log came to. */
export interface LogSum {
  bytes: number;
  /** Hex, of the streams that wrote something and are whole. */
  sha256: Partial<Record<StreamName, string>>;
}

export interface ChunkerOptions {
  now?: () => number;
  mask?: () => Mask;
  /** False while there is no room: what is cut then is left out. */
  keeps?: () => boolean;
  /** How far an earlier process came with this log. */
  from?: LogState;
  /** Bytes of output that the log takes, all streams but `system` together. */
  limit?: number;
  /** The output went beyond the limit; called for each write that does. */
  onLimit?: () => void;
}

const NOTHING: LogState = { bytes: 0, ends: {}, system: '' };

/**
 * Cuts the output of one step into chunks: at 64 KiB, or 50 ms after the first waiting byte, or at once when
 * nothing was cut for so long. Never by an idle timer: steady dripping would starve it. Within a stream the order
 * is exact. Where both streams are in use, a cut falls behind a newline if there is one, so that lines of one
 * are not torn by the other.
 *
 * `take` gets the chunks in the order of the log. Nothing here waits: back-pressure is the business of the caller.
 *
 * A log that an earlier process began goes on where `from` says. Its output is then written again from the first
 * byte of each stream: what the log has already only goes through mask and checksums, which cannot begin in the
 * middle, and must be what it was.
 *
 * Output for which there is no room is left out. A line of the farm then says how much, and the stream has no
 * checksum: there is none of what is not there.
 *
 * Output beyond the limit is left out for good. The log is whole up to there, a line of the farm says that it ends
 * there, and the checksums are of what the log has.
 */
export class Chunker {
  private readonly lanes = new Map<StreamName, Lane>();
  private readonly now: () => number;
  private readonly mask: () => Mask;
  private readonly keeps: () => boolean;
  private readonly from: LogState;
  private offset: number;
  private lastCut = -Infinity;
  private windowStart = -Infinity;
  private switches = 0;
  private current: StreamName | undefined;
  private readonly limit: number;
  /** Bytes of output that were taken. */
  private output: number;
  /** The line that says that the log ends here was said. */
  private over: boolean;

  constructor(
    private readonly take: (chunk: Chunk) => void,
    private readonly options: ChunkerOptions = {},
  ) {
    this.now = options.now ?? (() => performance.now());
    this.mask = options.mask ?? noMask;
    this.keeps = options.keeps ?? (() => true);
    this.from = options.from ?? NOTHING;
    this.offset = this.from.bytes;
    this.limit = options.limit ?? Infinity;
    const { stdout, stderr } = this.from.ends;
    this.output = (stdout?.masked ?? 0) + (stderr?.masked ?? 0);
    this.over = this.output >= this.limit;
    const { system } = this.from;
    if (system) this.lane('system').hash?.update(system, 'latin1');
  }

  /** Once the output is over: whether all that the log had of it came again, as it was. */
  get isExact(): boolean {
    return (['stdout', 'stderr'] as const).every((name) => {
      const lane = this.lanes.get(name);
      return lane ? !lane.differs && lane.again === 0 : !this.from.ends[name];
    });
  }

  /** Takes bytes as they come; they are copied. */
  write(stream: StreamName, bytes: Uint8Array): void {
    const lane = this.lane(stream);
    const { masked, rawEnd } = lane.mask.take(bytes);
    const all = this.pass(lane, masked);
    const fresh = this.within(lane, all);
    if (fresh.length > 0 && this.current !== stream) this.turnTo(stream);
    const beyond = all.length - fresh.length;
    this.collect(lane, fresh, rawEnd - beyond);
    if (beyond > 0) this.endOutput();
    if (lane.length === 0) return;
    if (this.now() - this.lastCut >= CHUNK_WAIT_MS) this.cut(lane, lane.length);
    else this.arm(lane);
  }

  /** The output is over: cuts what waits, and tells what it all came to. */
  end(): LogSum {
    for (const lane of this.byAge()) this.cut(lane, lane.length);
    const lanes = [...this.lanes.values()].filter(({ name }) => name !== 'system');
    for (const lane of lanes) this.finish(lane);
    for (const lane of lanes) this.tellGap(lane);
    const system = this.lanes.get('system');
    if (system) this.finish(system);
    const sha256: LogSum['sha256'] = {};
    for (const { name, hash, maskedEnd, again } of this.lanes.values())
      if (hash && maskedEnd > 0 && again === 0) sha256[name] = hash.digest('hex');
    return { bytes: this.offset, sha256 };
  }

  private finish(lane: Lane): void {
    const { masked, rawEnd } = lane.mask.end();
    const all = this.pass(lane, masked);
    const fresh = this.within(lane, all);
    this.collect(lane, fresh, rawEnd - (all.length - fresh.length));
    this.cut(lane, lane.length);
    if (fresh.length < all.length) this.endOutput();
    clearTimeout(lane.timer);
  }

  private lane(name: StreamName): Lane {
    let lane = this.lanes.get(name);
    if (!lane) {
      lane = this.begun(name);
      this.lanes.set(name, lane);
    }
    return lane;
  }

  private begun(name: StreamName): Lane {
    const { raw, masked, unbroken } = this.from.ends[name] ?? { raw: 0, masked: 0, unbroken: 0 };
    const own = name === 'system';
    const whole = own ? this.from.system !== undefined : unbroken === masked;
    return {
      name,
      mask: this.mask(),
      hash: whole ? createHash('sha256') : undefined,
      waiting: Buffer.allocUnsafe(CHUNK_BYTES),
      length: 0,
      since: 0,
      // What the farm said is not said again.
      maskedIn: own ? masked : 0,
      maskedEnd: own ? masked : 0,
      marks: [{ from: 0, delta: raw - masked }],
      timer: undefined,
      again: own ? 0 : masked,
      unproven: own ? 0 : unbroken,
      crc: 0,
      differs: false,
      gap: 0,
    };
  }

  /** Checks what the log has already; gives what is new. Nothing is, once the two differ. */
  private pass(lane: Lane, bytes: Uint8Array): Uint8Array {
    // Of an empty buffer without memory of its own, zlib gives 0 whatever stood before.
    if (lane.again > 0 && bytes.length > 0) {
      const part = bytes.subarray(0, lane.again);
      lane.hash?.update(part);
      if (lane.unproven > 0) {
        const proof = part.subarray(0, lane.unproven);
        lane.crc = crc32(proof, lane.crc);
        lane.unproven -= proof.length;
        const expected = this.from.ends[lane.name]?.crc32;
        if (lane.unproven === 0 && lane.crc !== expected) lane.differs = true;
      }
      lane.again -= part.length;
      lane.maskedIn += part.length;
      lane.maskedEnd += part.length;
      this.rawAt(lane);
      bytes = bytes.subarray(part.length);
    }
    if (!lane.differs) return bytes;
    lane.hash = undefined;
    return bytes.subarray(bytes.length);
  }

  /** As much as the limit leaves room for. */
  private within(lane: Lane, bytes: Uint8Array): Uint8Array {
    if (lane.name === 'system') return bytes;
    const kept = bytes.subarray(0, Math.max(0, this.limit - this.output));
    this.output += kept.length;
    return kept;
  }

  /** There was more output than the log takes. */
  private endOutput(): void {
    if (!this.over) {
      this.over = true;
      for (const lane of this.byAge()) this.cut(lane, lane.length);
      this.tell(`the log of the output ends here: ${limitText(this.limit)}`);
    }
    this.options.onLimit?.();
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
    if (lane.name !== 'system' && !this.keeps()) return this.leaveOut(lane, length);
    this.tellGap(lane);
    const bytes = Buffer.from(lane.waiting.subarray(0, length));
    lane.hash?.update(bytes);
    const at = lane.since;
    const { rawEnd, maskedEnd } = this.shift(lane, length);
    this.take({ stream: lane.name, bytes, offset: this.offset, rawEnd, maskedEnd, at });
    this.offset += length;
  }

  private leaveOut(lane: Lane, length: number): void {
    this.shift(lane, length);
    lane.gap += length;
    lane.hash = undefined;
  }

  /** Where something was left out, a line of the farm stands instead. */
  private tellGap(lane: Lane): void {
    if (lane.gap === 0) return;
    const text = `here ${lane.gap} bytes of ${lane.name} are missing: there was no room for them in the worker's spool`;
    lane.gap = 0;
    this.tell(text);
  }

  /** Says a line of the farm's own, at this place of the log. */
  private tell(text: string): void {
    const system = this.lane('system');
    const { masked, rawEnd } = system.mask.take(Buffer.from(`${text}\n`));
    this.collect(system, masked, rawEnd);
    this.cut(system, system.length);
  }

  /** Takes `length` bytes out of those that wait. */
  private shift(lane: Lane, length: number): { rawEnd: number; maskedEnd: number } {
    lane.waiting.copyWithin(0, length, lane.length);
    lane.length -= length;
    lane.maskedEnd += length;
    lane.since = this.lastCut = this.now();
    return { rawEnd: this.rawAt(lane), maskedEnd: lane.maskedEnd };
  }

  /** The raw bytes that stand behind what was cut; within a masked secret it is its beginning or its end. */
  private rawAt(lane: Lane): number {
    while (lane.marks.length > 1 && (lane.marks[1]?.from ?? Infinity) <= lane.maskedEnd)
      lane.marks.shift();
    return lane.maskedEnd + (lane.marks[0]?.delta ?? 0);
  }
}

/** Why a step is stopped whose output went beyond the limit. */
export function limitText(limit: number): string {
  return `the step wrote more than ${limit} bytes, the most that this worker takes of a step (IMPGEM_STEP_LOG)`;
}
