import type { StreamName } from '@impgem/protocol';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import type { Attempt } from '../executor/executor.js';
import type { Budget, LogState, NewRecord } from '../spool/index.js';
import { Chunker, type Chunk, type LogSum } from './chunker.js';

/** Bytes cut and not yet in the spool, of one step; above it the step waits. */
const BACKLOG_BYTES = 1024 * 1024;
/** An engine reads so much of its log again in less time than it takes to tell. */
const TOLD_BYTES = 1024 * 1024;
/**
 * Raw deflate that ends with a full flush: chunks strung together, with `03 00` at the end, are one deflate
 * stream, and each inflates alone. The best speed: a worker's processors are for its builds, and a seventh more bytes
 * than at the usual level are cheap to send. Not in the thread pool: the way there and back costs two to four times
 * what compressing 64 KiB of text does (60 to 240 µs).
 */
const FLUSHED = { level: constants.Z_BEST_SPEED, finishFlush: constants.Z_FULL_FLUSH };

export interface StepLogOrder {
  append: (record: NewRecord) => Promise<unknown>;
  attempt: Attempt;
  step: number;
  /** `performance.now()` at the build's zero of time. */
  zero: number;
  /** Room for output. */
  budget: Pick<Budget, 'full' | 'exhausted' | 'room'>;
  /** How far an earlier process came with it; the step's output is then written again from its beginning. */
  from?: LogState;
  /** Bytes of output that the log takes. */
  limit?: number;
  /** The output went beyond it, and the step is to be stopped; may be called more than once. */
  onLimit?: () => void;
}

/**
 * The log of one step on its way into the journal: chunks are compressed and appended in order. `write` gives a
 * promise when the spool is behind or full; a step that heeds it keeps memory flat whatever it prints.
 */
export class StepLog {
  private readonly chunker: Chunker;
  private tail: Promise<void> = Promise.resolve();
  private backlog = 0;
  private room: (() => void)[] = [];
  private error: unknown;
  /** Bytes that an earlier process had of the output and that are still to come again. */
  private readonly again = new Map<StreamName, number>();
  private catchesUp = false;

  constructor(private readonly order: StepLogOrder) {
    const { budget, from, limit, onLimit } = order;
    this.chunker = new Chunker((chunk) => this.queue(chunk), {
      keeps: () => !budget.exhausted,
      ...(from ? { from } : {}),
      ...(limit === undefined ? {} : { limit }),
      ...(onLimit ? { onLimit } : {}),
    });
    for (const stream of ['stdout', 'stderr'] as const)
      this.again.set(stream, from?.ends[stream]?.raw ?? 0);
  }

  private get left(): number {
    return [...this.again.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Says that another process goes on with it. Until all that was there has come again the log shows nothing new,
   * however much the step writes: whoever watches is told that, and when it is over.
   */
  sayRestarted(): void {
    this.catchesUp = this.left >= TOLD_BYTES;
    const size = `${(this.left / 1024 ** 2).toFixed(1)} MiB`;
    const more = `; catching up: ${size} of output are read again before new output shows`;
    this.say(`the worker was restarted${this.catchesUp ? more : ''}`);
  }

  /** After `end`: whether all that an earlier process had of the output came again, as it was. */
  get isExact(): boolean {
    return this.chunker.isExact;
  }

  /** Takes output; the promise, if there is one, settles when there is room for more. Rejects like `end`. */
  write(stream: StreamName, bytes: Uint8Array): Promise<void> | void {
    if (this.error !== undefined) return Promise.reject(this.error as Error);
    if (bytes.length > BACKLOG_BYTES) return this.writeLong(stream, bytes);
    this.chunker.write(stream, bytes);
    if (this.catchesUp) this.cameAgain(stream, bytes.length);
    const { budget } = this.order;
    if (this.backlog > BACKLOG_BYTES || (budget.full && !budget.exhausted)) return this.drained();
  }

  private async writeLong(stream: StreamName, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += BACKLOG_BYTES)
      await this.write(stream, bytes.subarray(at, at + BACKLOG_BYTES));
  }

  private cameAgain(stream: StreamName, bytes: number): void {
    this.again.set(stream, Math.max(0, (this.again.get(stream) ?? 0) - bytes));
    if (this.left > 0) return;
    this.catchesUp = false;
    this.say('caught up: what follows is new');
  }

  /** Says something as the farm: one line or several, in the stream `system`. */
  say(text: string): void {
    if (this.error === undefined) this.chunker.write('system', Buffer.from(`${text}\n`));
  }

  /** Settles when all of the log is in the journal. Rejects when the journal cannot be written. */
  async end(): Promise<LogSum> {
    const sum = this.chunker.end();
    await this.tail;
    if (this.error !== undefined) throw this.error;
    return sum;
  }

  private async drained(): Promise<void> {
    while (this.backlog > BACKLOG_BYTES && this.error === undefined)
      await new Promise<void>((resolve) => this.room.push(resolve));
    if (this.error === undefined) await this.order.budget.room();
    if (this.error !== undefined) throw this.error;
  }

  private queue(chunk: Chunk): void {
    if (this.error !== undefined) return;
    const before = this.tail;
    this.tail = this.journal(chunk).then(() => before);
  }

  private async journal(chunk: Chunk): Promise<void> {
    this.backlog += chunk.bytes.length;
    try {
      await this.append(chunk);
    } catch (error) {
      this.error ??= error;
    } finally {
      this.backlog -= chunk.bytes.length;
      for (const resolve of this.room.splice(0)) resolve();
    }
  }

  private async append(chunk: Chunk): Promise<void> {
    const { stream, offset, rawEnd, maskedEnd, bytes } = chunk;
    const { append, attempt, step, zero } = this.order;
    const payload = deflateRawSync(bytes, FLUSHED);
    await append({
      kind: 'log',
      rawEnd,
      maskedEnd,
      frame: {
        kind: 'log',
        ...attempt,
        step,
        stream,
        offset,
        length: bytes.length,
        crc32: crc32(bytes),
        atMs: Math.max(0, Math.round(chunk.at - zero)),
        payload,
      },
    });
  }
}
