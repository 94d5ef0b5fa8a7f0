import type { Assign, Reason } from '@impgem/protocol';
import { FarmError, invariant } from '@impgem/kit';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  unlinkSync,
  write,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { readFile, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Budget } from './budget.js';
import {
  advance,
  decodeRecord,
  encodeRecord,
  NOTHING,
  sizeAt,
  type NewRecord,
  type Progress,
  type SpoolRecord,
} from './record.js';
import { readExactly, scan, segmentPath, type Segment } from './segment.js';

/** A journal goes on in a new file from here on, so that what is acknowledged can be given back. */
export const SEGMENT_BYTES = 8 * 1024 * 1024;

/**
 * So much is written without a turn through the thread pool, as are files made and removed: the kernel takes that into
 * its memory within microseconds, and the turn costs ten times as much, twenty times for each build. Removing a folder
 * is another matter: it may wait for the file system's own journal.
 */
const SYNC_BYTES = 64 * 1024;
const writeLong = promisify(write);

/**
 * In its first line what was handed out, in each further one a launch, of which the last counts. They are added, since a
 * file that is put in the place of another is written to the disk at once by some file systems (ext4's auto_da_alloc),
 * which takes longer than all else of a step's begin; and to this file, since some take as long for each that is made.
 */
const META = 'meta.json';
/** What was written last is kept in memory, so that it need not be read again to be sent: so many bytes of it. */
const RECENT_BYTES = 1024 * 1024;

/** What was handed out; written before anything of the build is done. No secrets. */
export interface Meta {
  assign: Assign;
  /** The slot that the build has on this worker. */
  slot: number;
  /** The build's zero of time, milliseconds since the Unix epoch. */
  startedAt: number;
  /** Which start of the machine it belongs to; absent where that cannot be known. */
  boot?: string;
}

/** What the executor was about to let run: the last thing written before it could. */
export interface Launch {
  step: number;
  /** By which the executor finds it again. */
  ref: string;
  /** Set when this worker was about to stop it: its exit says nothing of its own any more. */
  stop?: StopNote;
}

/** Why a step is stopped before its own end: asked for, too late, or because this worker stops. */
export interface StopNote {
  kind: 'cancel' | 'timeout' | 'halt';
  reason: Reason;
  /** The build ends with it, not this step alone. */
  whole: boolean;
}

/** A record that can be sent. */
export type JournalRecord = Exclude<SpoolRecord, { kind: 'checkpoint' }>;

interface Pending {
  seq: number;
  bytes: Buffer;
  resolve: (seq: number) => void;
  reject: (error: unknown) => void;
}

/**
 * The journal of one attempt: records numbered from 1 without gaps, appended, read from any number on, trimmed
 * from the front.
 *
 * **What is safe when.** `append` settles when the bytes are with the operating system: the death of the process
 * loses nothing. They are not forced to the disk, since a loss of power also ends the containers, so that the
 * attempt ends in any case. The master may then have more than the spool: see `Spool.recover`.
 */
export class Journal {
  /** The number given last; `written` of them are with the operating system. */
  seq: number;
  written: number;
  progress: Progress;
  /** Of the step begun last, if it came so far. */
  launch: Launch | undefined;
  private queue: Pending[] = [];
  private writing: Promise<void> | undefined;
  /** The descriptor of the last segment, once something was written into it. */
  private file: number | undefined;
  private acked = 0;
  private closed = false;
  private broken: unknown;
  /** Where the reader stands: the record `next` begins at `at` of the segment that begins with `first`. */
  private reader: { first: number; next: number; at: number } | undefined;
  /** The last records that are written and not acknowledged, without a gap. */
  private recent: JournalRecord[] = [];
  private recentBytes = 0;

  private constructor(
    readonly folder: string,
    readonly meta: Meta,
    private readonly budget: Budget,
    private readonly segments: Segment[],
    progress: Progress,
    private readonly segmentBytes: number,
  ) {
    this.progress = progress;
    this.seq = this.written = segments.at(-1)?.last ?? 0;
    budget.take(segments.reduce((total, { held }) => total + held, 0));
  }

  static async create(
    folder: string,
    meta: Meta,
    budget: Budget,
    segmentBytes = SEGMENT_BYTES,
  ): Promise<Journal> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // One that is torn by the death of the process is taken for none: nothing of the build was done yet.
    writeFileSync(join(folder, META), JSON.stringify(meta), { mode: 0o600 });
    return new Journal(folder, meta, budget, [], NOTHING, segmentBytes);
  }

  /** Undefined when the folder never became a journal, or was being removed; the rest of it is removed then. */
  static async reopen(
    folder: string,
    budget: Budget,
    segmentBytes = SEGMENT_BYTES,
  ): Promise<{ journal: Journal; cut: number } | undefined> {
    let meta: Meta;
    let launch: Launch | undefined;
    try {
      const [first = '', ...notes] = (await readFile(join(folder, META), 'utf8')).split('\n');
      meta = JSON.parse(first) as Meta;
      launch = lastWhole(notes);
      const { build, epoch } = meta.assign;
      invariant(
        basename(folder) === `${build}-${epoch}`,
        'a journal lies in the folder of its attempt',
      );
    } catch {
      await rm(folder, { recursive: true, force: true });
      return undefined;
    }
    const { segments, progress, cut } = await scan(folder);
    const journal = new Journal(folder, meta, budget, segments, progress, segmentBytes);
    journal.launch = launch;
    return { journal, cut };
  }

  /** Notes that a step is about to run. Settles when that is with the operating system: not before may it run. */
  async noteLaunch(launch: Launch): Promise<void> {
    this.launch = launch;
    appendFileSync(join(this.folder, META), `\n${JSON.stringify(launch)}`);
  }

  /** Notes that the launched step is about to be stopped; to have settled before a signal is sent to it. */
  async noteStop(stop: StopNote): Promise<void> {
    if (this.launch) await this.noteLaunch({ ...this.launch, stop });
  }

  get attempt(): { build: number; epoch: number } {
    return { build: this.meta.assign.build, epoch: this.meta.assign.epoch };
  }

  /** The first record that is still here; `seq` + 1 when none is. */
  get first(): number {
    return this.segments[0]?.first ?? this.seq + 1;
  }

  /**
   * Bytes on the disk that are not acknowledged. The quota counts whole files; here one that is acknowledged in part
   * counts for the share of its records that is not.
   */
  get unacknowledged(): number {
    let bytes = 0;
    for (const { first, last, size } of this.segments) {
      const left = last - Math.max(this.acked, first - 1);
      if (left > 0) bytes += Math.round((size * left) / (last - first + 1));
    }
    return bytes;
  }

  /**
   * Settles with the record's number when it is with the operating system. The order of records is that of the
   * calls. Whether there is room for output is the caller's business (see `Budget`): what comes here is kept.
   * Rejects when the disk cannot take it, for this and all later records.
   */
  async append(record: NewRecord): Promise<number> {
    if (this.broken !== undefined) throw this.broken;
    if (this.closed) throw new FarmError('stale', 'the journal is closed');
    const seq = ++this.seq;
    const bytes = encodeRecord(seq, record);
    // The checkpoint of a new segment tells of the records that are written, so it follows the queue.
    return new Promise<number>((resolve, reject) => {
      this.queue.push({ seq, bytes, resolve, reject });
      this.writing ??= this.write();
    });
  }

  private async write(): Promise<void> {
    // A moment later, so that what is said at once is written at once.
    await Promise.resolve();
    try {
      while (this.queue.length > 0) {
        const batch = this.queue.splice(0, 64);
        try {
          await this.writeBatch(batch);
        } catch (cause) {
          this.broken = new FarmError(
            'worker-error',
            `the spool cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
            {},
            { cause },
          );
          for (const { reject } of [...batch, ...this.queue.splice(0)]) reject(this.broken);
          return;
        }
        for (const { seq, resolve } of batch) resolve(seq);
      }
    } finally {
      this.writing = undefined;
    }
  }

  private async writeBatch(batch: Pending[]): Promise<void> {
    const firstSeq = batch[0]?.seq ?? 0;
    const segment = this.segmentFor(firstSeq);
    const buffers = batch.map(({ bytes }) => bytes);
    const size = buffers.reduce((total, { length }) => total + length, 0);
    invariant(this.file !== undefined, 'a segment is open while the journal is written');
    const whole = Buffer.concat(buffers);
    let done = 0;
    while (done < size) {
      done +=
        size <= SYNC_BYTES
          ? writeSync(this.file, whole, done, size - done)
          : (await writeLong(this.file, whole, done, size - done)).bytesWritten;
    }
    this.budget.take(size);
    segment.size += size;
    segment.held += size;
    segment.last = this.written = batch.at(-1)?.seq ?? segment.last;
    let at = 0;
    for (const { bytes } of batch) {
      const record = decodeRecord(whole, at);
      at += bytes.length;
      if (!record) continue;
      this.progress = advance(this.progress, record);
      if (record.kind !== 'checkpoint') this.keep(record);
    }
  }

  private keep(record: JournalRecord): void {
    this.recent.push(record);
    this.recentBytes += record.size;
    let past = 0;
    while (this.recentBytes > RECENT_BYTES) this.recentBytes -= this.recent[past++]?.size ?? 0;
    if (past > 0) this.recent.splice(0, past);
  }

  /** The segment that takes the next record: the last one, or a new one when that is full. */
  private segmentFor(first: number): Segment {
    const last = this.segments.at(-1);
    if (last && last.size < this.segmentBytes) {
      this.file ??= openSync(last.path, 'a');
      return last;
    }
    this.closeFile();
    const path = segmentPath(this.folder, first);
    this.file = openSync(path, 'ax', 0o600);
    const head = encodeRecord(first - 1, { kind: 'checkpoint', progress: this.progress });
    writeSync(this.file, head);
    this.budget.take(head.length);
    const segment = { path, first, last: first - 1, size: head.length, held: head.length };
    this.segments.push(segment);
    return segment;
  }

  /**
   * Records from `from` on, about `bytes` of them and at least one; none when `from` lies behind the last that
   * is written. Rejects when `from` was trimmed.
   */
  async read(from: number, bytes: number): Promise<JournalRecord[]> {
    const start = from - (this.recent[0]?.seq ?? Infinity);
    if (start >= 0 && from <= this.written) return this.remembered(start, bytes);
    const segment = this.segments.find(({ first, last }) => first <= from && from <= last);
    if (!segment) {
      if (from > this.written) return [];
      throw new FarmError('worker-error', `record ${from} is not in the spool any more`);
    }
    const reader =
      this.reader?.first === segment.first && this.reader.next <= from
        ? { ...this.reader }
        : { first: segment.first, next: segment.first - 1, at: 0 };
    const records: JournalRecord[] = [];
    let got = 0;
    while (reader.next <= segment.last && got < bytes) {
      const block = await this.block(segment, reader.at, bytes);
      for (let at = 0; got < bytes;) {
        const record = decodeRecord(block, at);
        if (!record) break;
        at += record.size;
        reader.at += record.size;
        reader.next = record.seq + 1;
        if (record.kind === 'checkpoint' || record.seq < from) continue;
        records.push(record);
        got += record.size;
      }
    }
    this.reader = reader;
    return records;
  }

  private remembered(start: number, bytes: number): JournalRecord[] {
    let got = 0;
    let end = start;
    while (end < this.recent.length && got < bytes) got += this.recent[end++]?.size ?? 0;
    return this.recent.slice(start, end);
  }

  /** Whole records of a segment from `at` on: about `bytes`, at least one. */
  private async block(segment: Segment, at: number, bytes: number): Promise<Buffer> {
    const left = segment.size - at;
    const block = await readExactly(segment.path, at, Math.min(left, Math.max(bytes, 64 * 1024)));
    const size = sizeAt(block, 0);
    if (size === undefined || size > left)
      throw new FarmError(
        'worker-error',
        `the spool file ${segment.path} is damaged at byte ${at}`,
      );
    const whole = size <= block.length ? block : await readExactly(segment.path, at, size);
    if (!decodeRecord(whole, 0))
      throw new FarmError(
        'worker-error',
        `the spool file ${segment.path} is damaged at byte ${at}`,
      );
    return whole;
  }

  /**
   * Gives back the files whose records are all at or below `seq`. The last file stays, but does not count any more
   * when all that is in it is acknowledged: a quota smaller than such files would be used up for good.
   */
  async trim(seq: number): Promise<void> {
    this.acked = Math.max(this.acked, seq);
    const past = this.recent.findIndex((record) => record.seq > seq);
    for (const { size } of this.recent.splice(0, past < 0 ? this.recent.length : past))
      this.recentBytes -= size;
    while (this.segments.length > 1 && (this.segments[0]?.last ?? Infinity) <= seq) {
      const segment = this.segments.shift();
      if (!segment) return;
      this.giveBack(segment);
      await unlink(segment.path).catch(ignoreMissing);
    }
    const last = this.segments.at(-1);
    if (last && seq >= this.written) this.giveBack(last);
  }

  private giveBack(segment: Segment): void {
    this.budget.give(segment.held);
    segment.held = 0;
  }

  /** Settles when all that was appended is with the operating system. */
  async flushed(): Promise<void> {
    while (this.writing) await this.writing;
  }

  /** Appends nothing any more; what is written stays. */
  async close(): Promise<void> {
    this.closed = true;
    await this.flushed();
    this.closeFile();
  }

  private closeFile(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
  }

  /** Closes it and removes its folder; the meta file first, so that a half-removed journal is known as such. */
  async destroy(): Promise<void> {
    await this.close();
    const names = this.segments.map(({ path }) => basename(path));
    for (const segment of this.segments.splice(0)) this.giveBack(segment);
    remove(join(this.folder, META));
    await removeFolder(this.folder, names);
  }
}

/** The last note that is whole: one that the process' death cut off was not heeded yet. */
function lastWhole(notes: readonly string[]): Launch | undefined {
  for (const note of notes.toReversed()) {
    try {
      return JSON.parse(note) as Launch;
    } catch {
      // Torn.
    }
  }
  return undefined;
}

/** Removes a folder of which the names are known that may be in it; whatever else is there goes too. */
async function removeFolder(folder: string, names: readonly string[]): Promise<void> {
  try {
    for (const name of names) remove(join(folder, name));
    await rmdir(folder);
  } catch {
    await rm(folder, { recursive: true, force: true });
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    ignoreMissing(error as NodeJS.ErrnoException);
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
