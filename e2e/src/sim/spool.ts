import type { Result } from '@impgem/pipeline';
import type {
  Assign,
  AttemptRef,
  BuildEvent,
  LogFrame,
  Reason,
  StreamName,
} from '@impgem/protocol';
import type { Process } from './world.js';

/** A record as the worker's journal holds it. */
export type SpoolRecord =
  | { kind: 'event'; seq: number; event: BuildEvent; size: number }
  | { kind: 'log'; seq: number; frame: LogFrame; size: number };

export interface StepEnding {
  result: Result;
  reason?: Reason;
}

/** What the records up to some place tell. */
export interface Progress {
  started: boolean;
  finished: boolean;
  /** How the steps ended that did. */
  endings: StepEnding[];
  /** Whether the step after them has begun. */
  open: boolean;
  logBytes: number;
  /** Bytes of the open step's streams. */
  ends: Partial<Record<StreamName, number>>;
}

/** One journal as it lies on the disk: what a process leaves behind. */
export interface SpoolFile {
  readonly assign: Assign;
  readonly slot: number;
  /** Which start of its machine it was made in. */
  readonly boot: number;
  /** Complete records; those up to `trimmed` are only kept for `progressOf`. */
  readonly records: SpoolRecord[];
  trimmed: number;
  /** A record was being written when the process died. */
  torn: boolean;
}

/** The spool folder of one machine. */
export type Disk = Map<string, SpoolFile>;

/** Files are given back when all of their records are acknowledged. */
const RECORDS_PER_FILE = 4;

export function progressOf({ records }: SpoolFile): Progress {
  const progress: Progress = {
    started: false,
    finished: false,
    endings: [],
    open: false,
    logBytes: 0,
    ends: {},
  };
  for (const record of records) advance(progress, record);
  return progress;
}

function advance(progress: Progress, record: SpoolRecord): void {
  if (record.kind === 'log') {
    const { stream, offset, length } = record.frame;
    progress.logBytes = offset + length;
    progress.ends[stream] = (progress.ends[stream] ?? 0) + length;
    return;
  }
  const { event } = record;
  if (event.kind === 'build.started') progress.started = true;
  if (event.kind === 'build.finished') progress.finished = true;
  if (event.kind === 'step.started') progress.open = true;
  if (event.kind === 'step.finished') {
    const { result, reason } = event;
    progress.endings.push({ result, ...(reason ? { reason } : {}) });
    Object.assign(progress, { open: false, logBytes: 0, ends: {} });
  }
}

export type NewRecord =
  { kind: 'event'; event: BuildEvent } | { kind: 'log'; frame: Omit<LogFrame, 'seq'> };

/** A journal that a living process writes. Appends settle in order, some time later. */
export class Journal {
  seq: number;
  broken: Reason | undefined;
  readonly #queue: { record: SpoolRecord; done: (seq: number) => void }[] = [];
  #writing = false;
  #closed = false;

  constructor(
    private readonly process: Process,
    readonly file: SpoolFile,
    private readonly onBroken: (reason: Reason) => void,
  ) {
    this.seq = file.records.length;
    process.onDeath(() => {
      // The record under way may be there whole, in part, or not at all; those behind it are not.
      const [first] = this.#queue;
      if (!first || this.#closed) return;
      const { chance } = process.world;
      if (chance.odds(0.3)) file.records.push(first.record);
      else file.torn = chance.odds(0.5);
    });
  }

  get ref(): AttemptRef {
    const { build, epoch } = this.file.assign;
    return { build, epoch };
  }

  append(record: NewRecord, done: (seq: number) => void): void {
    if (this.broken || this.#closed) return;
    const seq = ++this.seq;
    const whole: SpoolRecord =
      record.kind === 'event'
        ? { ...record, seq, size: 60 }
        : { kind: 'log', seq, frame: { ...record.frame, seq }, size: 69 + record.frame.length };
    this.#queue.push({ record: whole, done });
    this.#write();
  }

  /** Records from `from` on, about `bytes`, at least one; undefined when they were trimmed. */
  read(from: number, bytes: number): SpoolRecord[] | undefined {
    const { records, trimmed } = this.file;
    if (from <= trimmed) return undefined;
    const found = [];
    let got = 0;
    for (let at = from - 1; at < records.length && (got < bytes || found.length === 0); at++) {
      const record = records[at] as SpoolRecord;
      found.push(record);
      got += record.size;
    }
    return found;
  }

  trim(seq: number): void {
    const { file } = this;
    const files = Math.floor(Math.min(seq, file.records.length - 1) / RECORDS_PER_FILE);
    file.trimmed = Math.max(file.trimmed, files * RECORDS_PER_FILE);
  }

  close(): void {
    this.#closed = true;
  }

  breakDown(): void {
    if (this.broken || this.#closed) return;
    this.broken = { code: 'worker-error', message: 'the spool cannot be written' };
    this.#queue.length = 0;
    this.onBroken(this.broken);
  }

  #write(): void {
    if (this.#writing || this.#queue.length === 0) return;
    this.#writing = true;
    this.process.after(this.process.world.chance.delay(1, 300), () => {
      this.#writing = false;
      const next = this.#closed ? undefined : this.#queue.shift();
      if (!next) return;
      this.file.records.push(next.record);
      next.done(next.record.seq);
      this.#write();
    });
  }
}

/** What a start finds, with torn tails cut off; a journal without its end from before a loss of power is removed. */
export function recover(disk: Disk, boot: number): SpoolFile[] {
  for (const [key, file] of disk) {
    file.torn = false;
    if (file.boot !== boot && !progressOf(file).finished) disk.delete(key);
  }
  return [...disk.values()];
}
