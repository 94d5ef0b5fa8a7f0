/**
 * What a batch of journal records does to the farm, decided purely from the leases' rows.
 *
 * A record counts when its sequence is the next of its lease, and its lease is held by the worker that sent it,
 * in that epoch. A lower sequence was committed before and is only acknowledged; a higher one is a gap; a lease
 * that is not there or another's means that the attempt was taken away.
 *
 * What one attempt may make the farm store is bounded (`JournalBounds`), by what is really stored. The record that goes
 * beyond ends the attempt with a reason; the connection stays.
 */
import { cutCredentials, quoted, unreachable } from '@impgem/kit';
import type { Result, RetryBounds } from '@impgem/pipeline';
import {
  holds,
  reasonOf,
  REASONS,
  STREAMS,
  type BuildEvent,
  type JournalEvent,
  type LogFrame,
  type LeaseHolder,
  type Reason,
  type ReasonCode,
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
  /** What the attempt has used up of its bounds. */
  used: JournalUse;
  /** Those that the batch names: index, name, kind, bytes and lines of the log, whether that has ended. */
  steps: [number, string, string, number, number, boolean][] | null;
}

/** What the records of an attempt came to so far. */
export interface JournalUse {
  /** Records that are no log chunks. */
  events: number;
  /** Properties that were set, each time counted, and the bytes of their names and values. */
  properties: number;
  propertyBytes: number;
  /** Stored bytes of logs, with `CHUNK_ROW_BYTES` for each chunk. */
  logStored: number;
}

/** What an attempt may store. */
export interface JournalBounds {
  eventsPerBuild: number;
  propertiesPerBuild: number;
  propertyBytesPerBuild: number;
  /** Bytes of the log of one step, before compression. */
  stepLogBytes: number;
  /** As `JournalUse.logStored` counts. */
  buildLogBytes: number;
}

/** What the row of a chunk takes besides its bytes: header, columns, its entry in the index. */
export const CHUNK_ROW_BYTES = 128;

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
  /** Name and value, in the order in which they were set. */
  properties?: [string, string][];
}

/** How far an attempt is, and what that has used. */
export interface LeasePatch extends JournalUse {
  build: number;
  seq: number;
}

/** What becomes of the records of one attempt that came from one worker. */
export type Outcome =
  | { type: 'committed' | 'gap'; build: number; epoch: number; seq: number }
  | { type: 'finished'; build: number; epoch: number }
  /** `reason`: it was ended just now, by this. */
  | { type: 'taken'; build: number; epoch: number; reason?: Reason }
  /** None of ours can send this. */
  | { type: 'corrupt'; build: number; epoch: number; problem: string };

export interface Ingest {
  chunks: ChunkRow[];
  payload: Uint8Array[];
  steps: StepPatch[];
  builds: BuildPatch[];
  seqs: LeasePatch[];
  endings: Ending[];
  events: NewEvent[];
  /** With the item that brought it about last; at most one of a type for each attempt and worker. */
  outcomes: { item: IngestItem; outcome: Outcome }[];
}

export function ingest(
  items: readonly IngestItem[],
  leases: readonly LeaseRow[],
  now: Date,
  bounds: JournalBounds,
): Ingest {
  const batch = new Batch(now, bounds);
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
  readonly seqs: LeasePatch[] = [];
  readonly endings: Ending[] = [];
  readonly events: NewEvent[] = [];
  readonly #outcomes = new Map<string, { item: IngestItem; outcome: Outcome }>();
  #bytes = 0;

  constructor(
    readonly now: Date,
    readonly bounds: JournalBounds,
  ) {}

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

/** A step as the batch makes it. */
interface StepTurn extends StepPatch {
  name: string;
  kind: string;
  touched: boolean;
  /** Its end was told: nothing of it changes any more. */
  ended: boolean;
}

/** A record that is not applied: it ends the attempt with this. */
interface Refusal {
  reason: Reason;
}

/** One attempt's records in this batch. */
class AttemptTurn {
  readonly #steps: Map<number, StepTurn>;
  readonly #used: JournalUse;
  #patch: BuildPatch | undefined;
  #seq: number;
  #finished = false;
  #problem: string | undefined;
  /** Why it was ended before its own end. */
  #over: Reason | undefined;

  constructor(
    private readonly batch: Batch,
    private readonly lease: LeaseRow,
  ) {
    this.#seq = lease.seq;
    this.#used = { ...lease.used };
    const { build } = lease;
    this.#steps = new Map(
      (lease.steps ?? []).map(([index, name, kind, logBytes, logLines, ended]) => [
        index,
        { build, index, name, kind, logBytes, logLines, ended, touched: false },
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
    if (this.#problem !== undefined || this.#over) return this.#tell(item);
    if (this.#finished && record.seq > this.#seq) return;
    if (record.seq > this.#seq + 1) {
      this.batch.say(item, { type: 'gap', build, epoch, seq: this.#seq });
      return;
    }
    if (record.seq === this.#seq + 1) {
      const problem = 'kind' in record ? this.#chunk(record, item.checked) : this.#event(record);
      if (typeof problem === 'string') this.#problem = problem;
      else if (problem) this.#end(problem.reason);
      if (problem !== undefined) return this.#tell(item);
      this.#seq = record.seq;
    }
    this.#tell(item);
  }

  #tell(item: IngestItem): void {
    const { build, epoch } = item.record;
    if (this.#problem !== undefined)
      return this.batch.say(item, { type: 'corrupt', build, epoch, problem: this.#problem });
    if (this.#over)
      return this.batch.say(item, { type: 'taken', build, epoch, reason: this.#over });
    this.batch.say(item, { type: 'committed', build, epoch, seq: this.#seq });
    if (this.#finished) this.batch.say(item, { type: 'finished', build, epoch });
  }

  /** Hands what came together to the batch. */
  end(): void {
    const { build, seq } = this.lease;
    for (const {
      touched,
      name: _name,
      kind: _kind,
      ended: _ended,
      ...patch
    } of this.#steps.values())
      if (touched) this.batch.steps.push(patch);
    if (this.#patch) this.batch.builds.push(this.#patch);
    if (this.#seq > seq && !this.#finished)
      this.batch.seqs.push({ build, seq: this.#seq, ...this.#used });
  }

  /** Ends the attempt: what was applied so far stays. */
  #end(reason: Reason): void {
    const { cancel, lost: _lost, ...lease } = this.lease;
    const { result } = REASONS[reason.code as ReasonCode];
    this.batch.endings.push({ ...lease, cancel: cancel?.reason, result, reason, counted: true });
    this.#finished = true;
    this.#over = reason;
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

  #chunk(frame: LogFrame, checked: CheckedChunk | undefined): string | Refusal | undefined {
    if (!checked || 'problem' in checked) return checked?.problem ?? 'a chunk was not checked';
    const step = this.#step(frame.step);
    if (!step) return `build ${frame.build} has no step ${frame.step}`;
    if (step.ended) return `the log of step ${frame.step} has ended`;
    if (frame.offset !== step.logBytes)
      return `a chunk begins at ${frame.offset}, the log of step ${frame.step} ends at ${step.logBytes}`;
    const { build, seq, offset, length, crc32: crc } = frame;
    const { stepLogBytes, buildLogBytes } = this.batch.bounds;
    if (offset + length > stepLogBytes)
      return tooMuch(`step ${quoted(step.name)} wrote more than ${stepLogBytes} bytes of output`);
    this.#used.logStored += frame.payload.length + CHUNK_ROW_BYTES;
    if (this.#used.logStored > buildLogBytes)
      return tooMuch(`its logs take more than ${buildLogBytes} bytes of the master's database`);
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

  #event({ event, atMs, build }: JournalEvent): string | Refusal | undefined {
    const at = this.#at(atMs);
    const { eventsPerBuild } = this.batch.bounds;
    this.#used.events += 1;
    // Its end is always taken.
    if (this.#used.events > eventsPerBuild && event.kind !== 'build.finished')
      return overBound(`the build told of more than ${eventsPerBuild} events`);
    switch (event.kind) {
      case 'build.started':
        this.#patch = { ...this.#patch, build, startedAt: at };
        this.#say('build.started', {});
        return undefined;
      case 'property.set':
        return this.#property(event.name, event.value);
      case 'step.started': {
        const step = this.#step(event.step);
        if (!step) return `build ${build} has no step ${event.step}`;
        if (step.ended) return `step ${event.step} has ended`;
        Object.assign(step, { state: 'running', startedAt: at });
        this.#say('step.started', { step: event.step, name: step.name, kind: step.kind });
        return undefined;
      }
      case 'step.finished':
        return this.#stepFinished(event, build, at);
      case 'build.finished': {
        const { result } = event;
        const reason = withoutSecrets(event.reason);
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

  #property(name: string, value: string): Refusal | undefined {
    const { propertiesPerBuild, propertyBytesPerBuild } = this.batch.bounds;
    this.#used.properties += 1;
    this.#used.propertyBytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    if (this.#used.properties > propertiesPerBuild)
      return overBound(`the build set more than ${propertiesPerBuild} properties`);
    if (this.#used.propertyBytes > propertyBytesPerBuild)
      return overBound(`the build set properties of more than ${propertyBytesPerBuild} bytes`);
    const { build } = this.lease;
    const patch = (this.#patch ??= { build });
    // A list of pairs: a name may be one that objects have of their own.
    (patch.properties ??= []).push([name, value]);
    this.#say('property.set', { name, value });
    return undefined;
  }

  #stepFinished(
    event: Extract<BuildEvent, { kind: 'step.finished' }>,
    build: number,
    at: Date,
  ): string | undefined {
    const step = this.#step(event.step);
    if (!step) return `build ${build} has no step ${event.step}`;
    if (step.ended) return `step ${event.step} has ended`;
    const { result, exitCode, log } = event;
    const reason = withoutSecrets(event.reason);
    if (log.bytes !== step.logBytes)
      return `the log of step ${event.step} has ${log.bytes} bytes there and ${step.logBytes} here`;
    const logSha256 = log.sha256 as Record<string, string>;
    Object.assign(step, {
      ended: true,
      state: 'finished',
      result,
      reason,
      exitCode,
      finishedAt: at,
      logSha256,
    } satisfies Partial<StepTurn>);
    const { name } = step;
    this.#say('step.finished', { step: event.step, name, result, exitCode, reason });
    return undefined;
  }

  #say(kind: NewEvent['kind'], data: Record<string, unknown>): void {
    const { builder, build, request, worker } = this.lease;
    this.batch.events.push({ kind, builder, build, request, worker, data });
  }
}

const tooMuch = (what: string): Refusal => ({ reason: reasonOf('output-limit', what) });
const overBound = (what: string): Refusal => ({ reason: reasonOf('journal-limit', what) });

/** Workers of earlier versions tell the address of a source as it is. */
function withoutSecrets(reason: Reason | undefined): Reason | undefined {
  return reason && { ...reason, message: cutCredentials(reason.message) };
}
