import { invariant } from '@impgem/kit';
import { combine, worse } from '@impgem/pipeline';
import type { AttemptRef, BuildEvent, Reason } from '@impgem/protocol';
import {
  containerKey,
  writtenBy,
  type BuildScript,
  type Container,
  type Engine,
} from './engine.js';
import {
  progressOf,
  type Journal,
  type NewRecord,
  type Progress,
  type StepEnding,
} from './spool.js';
import type { Planned, Process } from './world.js';

export interface Stop {
  kind: 'cancel' | 'halt' | 'abandon';
  reason: Reason;
}

const TERM_MS = 10_000;

/**
 * One build on a worker, from its assignment or from where its journal ends: steps in containers one after the
 * other, their output into the journal, and never a step's end before the end of its output.
 */
export class BuildRun {
  #stop: Stop | undefined;
  #container: Container | undefined;
  #look: Planned | undefined;
  #read = 0;
  #logBytes = 0;
  readonly #endings: StepEnding[] = [];
  /** No container of it runs any more, and it will write nothing more. */
  isOver = false;

  constructor(
    private readonly process: Process,
    private readonly engine: Engine,
    private readonly script: BuildScript,
    private readonly journal: Journal,
    private readonly journaled: (seq: number, finished: boolean) => void,
    private readonly over: () => void,
  ) {}

  get ref(): AttemptRef {
    return this.journal.ref;
  }

  begin(): void {
    const progress = progressOf(this.journal.file);
    this.#endings.push(...progress.endings);
    const go = () => (progress.open ? this.#resume(progress) : this.#next());
    if (progress.started) go();
    else this.#record({ kind: 'build.started' }, go);
  }

  interrupt(stop: Stop): void {
    if (this.isOver || (this.#stop && stop.kind !== 'abandon')) return;
    this.#stop = stop;
    const { chance } = this.process.world;
    if (this.#container) {
      this.engine.kill(this.#container, stop.kind === 'cancel' ? chance.between(0, TERM_MS) : 0);
      this.#follow(this.#endings.length, this.#container);
    }
    if (stop.kind === 'abandon') this.#end();
  }

  #next(): void {
    if (this.isOver) return;
    const step = this.#endings.length;
    const script = this.script.steps[step];
    if (!script) return this.#finish();
    if (this.#stop || (this.#endings.at(-1)?.result ?? 'success') !== 'success') {
      const log = { bytes: 0, sha256: {} };
      return this.#record({ kind: 'step.finished', step, result: 'skipped', log }, () =>
        this.#ended({ result: 'skipped' }),
      );
    }
    this.#record({ kind: 'step.started', step }, () => this.#begin(step));
  }

  /** The step's beginning is in the journal; its container is there, or not yet. */
  #begin(step: number): void {
    this.process.after(this.process.world.chance.delay(20, 500), () => {
      if (this.isOver) return;
      if (this.#stop) return this.#stepFinished(step, undefined);
      const script = this.script.steps[step];
      if (script) this.#follow(step, this.engine.start(containerKey(this.ref, step), script));
    });
  }

  #resume(progress: Progress): void {
    const step = progress.endings.length;
    const key = containerKey(this.ref, step);
    const container = this.engine.find(key);
    if (!container) return this.#begin(step);
    const taken = { stdout: progress.ends.stdout ?? 0, stderr: progress.ends.stderr ?? 0 };
    this.#logBytes = progress.logBytes;
    // What is in the journal is skipped, stream by stream; a piece may have been cut in two.
    const pieces = writtenBy(key, container, Infinity);
    for (const [index, { stream, bytes }] of pieces.entries()) {
      if (taken[stream] < bytes.length) break;
      taken[stream] -= bytes.length;
      this.#read = index + 1;
    }
    this.#follow(step, container);
  }

  /** Takes what the container has written since, and looks again when there will be more. */
  #follow(step: number, container: Container): void {
    if (this.isOver) return;
    this.#container = container;
    if (this.#look) this.#look.cancelled = true;
    const { now } = this.process.world;
    const key = containerKey(this.ref, step);
    const pieces = writtenBy(key, container, now);
    for (const { stream, bytes } of pieces.slice(this.#read)) {
      const offset = this.#logBytes;
      this.#logBytes += bytes.length;
      const about = { ...this.ref, step, stream, offset, length: bytes.length };
      this.#append({
        kind: 'log',
        frame: { kind: 'log', ...about, crc32: 0, atMs: 0, payload: bytes },
      });
    }
    this.#read = pieces.length;
    if (now >= container.endsAt) return this.#stepFinished(step, container);
    const next = container.script.writes[this.#read];
    const at = Math.min(container.endsAt, next ? container.startedAt + next.at : Infinity);
    this.#look = this.process.after(at - now + 0.01, () => this.#follow(step, container));
  }

  #stepFinished(step: number, container: Container | undefined): void {
    this.#container = undefined;
    const log = { bytes: this.#logBytes, sha256: {} };
    const end = this.#stop ? stopped(this.#stop) : endOf(container);
    this.#record({ kind: 'step.finished', step, ...end, log }, () => {
      this.engine.remove(containerKey(this.ref, step));
      this.#ended(end);
    });
  }

  #ended(ending: StepEnding): void {
    if (this.isOver) return;
    this.#endings.push(ending);
    this.#read = this.#logBytes = 0;
    this.#next();
  }

  #finish(): void {
    const all = combine(this.#endings.map(({ result }) => result));
    const stop = this.#stop;
    const result = stop ? worse(all, stopped(stop).result) : all;
    const why = stop?.reason ?? this.#endings.find(({ result }) => result === all)?.reason;
    const reason = why ? { reason: why } : {};
    this.#record({ kind: 'build.finished', result, ...reason }, () => this.#end());
  }

  #end(): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const step of this.script.steps.keys()) this.engine.remove(containerKey(this.ref, step));
    this.process.after(this.process.world.chance.delay(50, 3000), this.over);
  }

  #record(event: BuildEvent, then: () => void): void {
    this.#append({ kind: 'event', event }, then);
  }

  #append(record: NewRecord, then?: () => void): void {
    if (this.#stop?.kind === 'abandon') return;
    const finished = record.kind === 'event' && record.event.kind === 'build.finished';
    this.journal.append(record, (seq) => {
      this.journaled(seq, finished);
      if (!this.isOver) then?.();
    });
  }
}

function stopped({ kind, reason }: Stop): StepEnding {
  return { result: kind === 'cancel' ? 'cancelled' : 'retry', reason };
}

function endOf(container: Container | undefined): StepEnding {
  const { killed = false, script: { exit = 0, trouble } = {} } = container ?? {};
  // By an earlier life of the worker, that did not come to say why.
  if (killed) return { result: 'failure' };
  // Longer than a run lasts.
  invariant(trouble !== 'endless', 'an endless step has ended');
  if (trouble) return { result: 'exception', reason: { code: trouble, message: 'trouble' } };
  return { result: exit === 0 ? 'success' : 'failure' };
}
