/**
 * What a batch of journal records does to the farm, decided purely from the leases' rows.
 *
 * A record counts when its sequence is the next of its lease, and its lease is held by the worker that sent it,
 * in that epoch. A lower sequence was committed before and is only acknowledged; a higher one is a gap; a lease
 * that is not there or another's means that the attempt was taken away.
 */
import { unreachable } from '@impgem/kit';
import type { Result, RetryBounds } from '@impgem/pipeline';
import {
  holds,
  STREAMS,
  type BuildEvent,
  type JournalEvent,
  type LogFrame,
  type LeaseHolder,
  type Reason,
} from '@impgem/protocol';
import type { NewEvent } from '../events/index.js';
import type { Ending } from '../scheduling/index.js';
import type { CheckedChunk } from './chunk.js';

export type JournalRecord = JournalEvent | LogFrame;

export interface IngestItem {
  workerId: string;
  record: JournalRecord;
  /** Of log chunks. */
  checked: CheckedChunk | undefined;
}

/** A lease with what the records need to know of its build. */
export interface LeaseRow extends LeaseHolder {
  seq: number;
  cancel: { reason: Reason } | null;
  request: number;
  attempts: number;
  failures: number;
  retry: RetryBounds;
  builder: string;
  worker: string;
  createdAt: Date;
  /** Those that the batch names: index, name, kind, bytes and lines of the log. */
  steps: [number, string, string, number, number][] | null;
}

interface ChunkRow {
  build: number;
  step: number;
  offset: number;
  seq: number;
  stream: number;
  length: number;
  line: number;
  at: Date;
  crc: number;
  /** Where its bytes lie in the batch's payload. */
  start: number;
  size: number;
}

interface StepPatch {
  build: number;
  index: number;
  state?: 'running' | 'finished';
  result?: Result;
  reason?: Reason | undefined;
  exitCode?: number | undefined;
  startedAt?: Date;
  finishedAt?: Date;
  logBytes: number;
  logLines: number;
  logSha256?: Record<string, string>;
}

interface BuildPatch {
  build: number;
  startedAt?: Date;
  properties?: Record<string, string>;
}

/** What becomes of the records of one attempt that came from one worker. */
export type Outcome =
  | { type: 'committed' | 'gap'; build: number; epoch: number; seq: number }
  | { type: 'finished' | 'taken'; build: number; epoch: number }
  /** None of ours can send this. */
  | { type: 'corrupt'; build: number; epoch: number; problem: string };

export interface Ingest {
  chunks: ChunkRow[];
  payload: Uint8Array[];
  steps: StepPatch[];
  builds: BuildPatch[];
  seqs: { build: number; seq: number }[];
  endings: Ending[];
  events: NewEvent[];
  /** With the item that brought it about last; at most one of a type for each attempt and worker. */
  outcomes: { item: IngestItem; outcome: Outcome }[];
}

export function ingest(
  items: readonly IngestItem[],
  leases: readonly LeaseRow[],
  now: Date,
): Ingest {
  const batch = new Batch(now);
  const attempts = new Map(leases.map((lease) => [lease.build, new AttemptTurn(batch, lease)]));
  for (const item of items) {
    const { build, epoch } = item.record;
    const attempt = attempts.get(build);
    if (!attempt?.holds(item)) batch.say(item, { type: 'taken', build, epoch });
    else attempt.take(item);
  }
  for (const attempt of attempts.values()) attempt.end();
  return batch.result();
}

/** The effects so far. */
class Batch {
  readonly chunks: ChunkRow[] = [];
  readonly payload: Uint8Array[] = [];
  readonly steps: StepPatch[] = [];
  readonly builds: BuildPatch[] = [];
  readonly seqs: { build: number; seq: number }[] = [];
  readonly endings: Ending[] = [];
  readonly events: NewEvent[] = [];
  readonly #outcomes = new Map<string, { item: IngestItem; outcome: Outcome }>();
  #bytes = 0;

  constructor(readonly now: Date) {}

  say(item: IngestItem, outcome: Outcome): void {
    const key = `${item.workerId} ${outcome.build} ${outcome.epoch} ${outcome.type}`;
    this.#outcomes.set(key, { item, outcome });
  }

  addChunk(chunk: Omit<ChunkRow, 'start' | 'size'>, payload: Uint8Array): void {
    this.chunks.push({ ...chunk, start: this.#bytes, size: payload.length });
    this.payload.push(payload);
    this.#bytes += payload.length;
  }

  result(): Ingest {
    const { chunks, payload, steps, builds, seqs, endings, events } = this;
    const outcomes = [...this.#outcomes.values()];
    return { chunks, payload, steps, builds, seqs, endings, events, outcomes };
  }
}

/** One attempt's records in this batch. */
class AttemptTurn {
  readonly #steps: Map<number, StepPatch & { name: string; kind: string; touched: boolean }>;
  #patch: BuildPatch | undefined;
  #seq: number;
  #finished = false;
  #problem: string | undefined;

  constructor(
    private readonly batch: Batch,
    private readonly lease: LeaseRow,
  ) {
    this.#seq = lease.seq;
    const { build } = lease;
    this.#steps = new Map(
      (lease.steps ?? []).map(([index, name, kind, logBytes, logLines]) => [
        index,
        { build, index, name, kind, logBytes, logLines, touched: false },
      ]),
    );
  }

  holds({ workerId, record }: IngestItem): boolean {
    return holds(this.lease, workerId, record);
  }

  take(item: IngestItem): void {
    const { record } = item;
    const { build, epoch } = record;
    // What stands behind the end, or behind what is corrupt, is nothing; but who sends it may have come back on
    // another connection meanwhile, and shall be told on that.
    if (this.#problem !== undefined) return this.#tell(item);
    if (this.#finished && record.seq > this.#seq) return;
    if (record.seq > this.#seq + 1) {
      this.batch.say(item, { type: 'gap', build, epoch, seq: this.#seq });
      return;
    }
    if (record.seq === this.#seq + 1) {
      const problem = 'kind' in record ? this.#chunk(record, item.checked) : this.#event(record);
      if (problem !== undefined) {
        this.#problem = problem;
        return this.#tell(item);
      }
      this.#seq = record.seq;
    }
    this.#tell(item);
  }

  #tell(item: IngestItem): void {
    const { build, epoch } = item.record;
    if (this.#problem !== undefined)
      return this.batch.say(item, { type: 'corrupt', build, epoch, problem: this.#problem });
    this.batch.say(item, { type: 'committed', build, epoch, seq: this.#seq });
    if (this.#finished) this.batch.say(item, { type: 'finished', build, epoch });
  }

  /** Hands what came together to the batch. */
  end(): void {
    const { build, seq } = this.lease;
    for (const { touched, name: _name, kind: _kind, ...patch } of this.#steps.values())
      if (touched) this.batch.steps.push(patch);
    if (this.#patch) this.batch.builds.push(this.#patch);
    if (this.#seq > seq && !this.#finished) this.batch.seqs.push({ build, seq: this.#seq });
  }

  #step(index: number) {
    const step = this.#steps.get(index);
    if (step) step.touched = true;
    return step;
  }

  /** The worker's milliseconds by our clock; never in the future. */
  #at(atMs: number): Date {
    const at = this.lease.createdAt.getTime() + atMs;
    return new Date(
      Math.min(at, Math.max(this.batch.now.getTime(), this.lease.createdAt.getTime())),
    );
  }

  #chunk(frame: LogFrame, checked: CheckedChunk | undefined): string | undefined {
    if (!checked || 'problem' in checked) return checked?.problem ?? 'a chunk was not checked';
    const step = this.#step(frame.step);
    if (!step) return `build ${frame.build} has no step ${frame.step}`;
    if (frame.offset !== step.logBytes)
      return `a chunk begins at ${frame.offset}, the log of step ${frame.step} ends at ${step.logBytes}`;
    const { build, seq, offset, length, crc32: crc } = frame;
    const stream = STREAMS.indexOf(frame.stream);
    const at = this.#at(frame.atMs);
    const line = step.logLines;
    this.batch.addChunk(
      { build, step: frame.step, offset, seq, stream, length, line, at, crc },
      frame.payload,
    );
    step.logBytes += length;
    step.logLines += checked.newlines;
    return undefined;
  }

  #event({ event, atMs, build }: JournalEvent): string | undefined {
    const at = this.#at(atMs);
    switch (event.kind) {
      case 'build.started':
        this.#patch = { ...this.#patch, build, startedAt: at };
        this.#say('build.started', {});
        return undefined;
      case 'property.set': {
        const { name, value } = event;
        const properties = { ...this.#patch?.properties, [name]: value };
        this.#patch = { ...this.#patch, build, properties };
        this.#say('property.set', { name, value });
        return undefined;
      }
      case 'step.started': {
        const step = this.#step(event.step);
        if (!step) return `build ${build} has no step ${event.step}`;
        Object.assign(step, { state: 'running', startedAt: at });
        this.#say('step.started', { step: event.step, name: step.name, kind: step.kind });
        return undefined;
      }
      case 'step.finished':
        return this.#stepFinished(event, build, at);
      case 'build.finished': {
        const { result, reason } = event;
        const { cancel, lost: _, ...lease } = this.lease;
        const asked = cancel?.reason;
        this.batch.endings.push({ ...lease, cancel: asked, result, reason, counted: true });
        this.#finished = true;
        return undefined;
      }
      default:
        return unreachable(event);
    }
  }

  #stepFinished(
    event: Extract<BuildEvent, { kind: 'step.finished' }>,
    build: number,
    at: Date,
  ): string | undefined {
    const step = this.#step(event.step);
    if (!step) return `build ${build} has no step ${event.step}`;
    const { result, reason, exitCode, log } = event;
    if (log.bytes !== step.logBytes)
      return `the log of step ${event.step} has ${log.bytes} bytes there and ${step.logBytes} here`;
    const logSha256 = log.sha256 as Record<string, string>;
    // What a second end of a step leaves out stays as it is, be it in this batch or in the next.
    Object.assign(step, {
      state: 'finished',
      result,
      reason: reason ?? step.reason,
      exitCode: exitCode ?? step.exitCode,
      finishedAt: at,
      logSha256,
    } satisfies Partial<StepPatch>);
    const { name } = step;
    this.#say('step.finished', { step: event.step, name, result, exitCode, reason });
    return undefined;
  }

  #say(kind: NewEvent['kind'], data: Record<string, unknown>): void {
    const { builder, build, request, worker } = this.lease;
    this.batch.events.push({ kind, builder, build, request, worker, data });
  }
}
