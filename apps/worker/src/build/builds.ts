import { FarmError } from '@impgem/kit';
import type { Assign, AttemptRef, FoundBuild, Reason, WorkerEvent } from '@impgem/protocol';
import type { Logger } from 'pino';
import type { Journal, NewRecord, Spool, StopNote } from '../spool/index.js';
import { BuildRun, type BuildOrder, type BuildSurroundings } from './build-run.js';
import type { Stop } from './stop.js';

/** How long a slot rests whose build could not even begin, so that a full disk does not become a storm. */
const REST_MS = 10_000;

export interface BuildsOrder extends Omit<BuildSurroundings, 'budget'> {
  spool: Spool;
}

interface Entry {
  ref: AttemptRef;
  log: Logger;
  run?: BuildRun;
  journal?: Journal;
  /** Settles when the run is over and its workspace is gone. */
  over: Promise<void>;
  /** It was begun by an earlier process and waits for `resume`. */
  waits?: boolean;
}

/**
 * The builds that this worker holds, from `assign` until spool and workspace are gone. Does what the worker
 * machine says of them, and reports what becomes of them as its events.
 */
export class Builds {
  private readonly entries = new Map<string, Entry>();
  private halted: Stop | undefined;

  constructor(
    private readonly order: BuildsOrder,
    private readonly report: (event: WorkerEvent) => void,
  ) {}

  /** What may have a workspace, for the sweep to keep. */
  get attempts(): AttemptRef[] {
    return [...this.entries.values()].filter(({ run }) => run).map(({ ref }) => ref);
  }

  /** Bytes in the spool that the master has not acknowledged. */
  get spooled(): number {
    return [...this.entries.values()].reduce(
      (bytes, { journal }) => bytes + (journal?.unacknowledged ?? 0),
      0,
    );
  }

  /**
   * Finds what an earlier process left: builds that wait for delivery only, and builds that go on, whose
   * workspaces are kept from the next sweep. They go on with `resume`.
   */
  async recover(): Promise<FoundBuild[]> {
    const found = [];
    for (const { journal, cut } of await this.order.spool.recover()) {
      const ref = journal.attempt;
      const log = this.order.log.child(ref);
      if (cut > 0) log.warn({ cut }, 'a torn record was cut off the spool');
      const { meta, progress, launch, first, seq } = journal;
      const entry: Entry = { ref, log, journal, over: Promise.resolve() };
      this.entries.set(key(ref), entry);
      if (progress.finished) {
        found.push({ ...ref, first, seq });
        continue;
      }
      const earlier = { startedAt: meta.startedAt, progress, ...(launch ? { launch } : {}) };
      const { plan } = meta.assign;
      entry.run = this.runOf(entry, { slot: meta.slot, plan, earlier });
      entry.waits = true;
      await entry.run.reopen();
      found.push({ ...ref, first, seq, slot: meta.slot });
    }
    return found;
  }

  /** Lets the builds that were found go on. */
  resume(): void {
    for (const entry of this.entries.values()) {
      if (!entry.waits || !entry.run) continue;
      entry.waits = false;
      entry.log.info('a build of the last process is taken up');
      entry.over = this.carry(entry, entry.run);
    }
  }

  run(assign: Assign, slot: number): void {
    const { build, epoch, plan } = assign;
    const ref = { build, epoch };
    const log = this.order.log.child(ref);
    const entry: Entry = { ref, log, over: Promise.resolve() };
    const run = (entry.run = this.runOf(entry, { slot, plan }));
    this.entries.set(key(ref), entry);
    log.info({ slot, builder: plan.builder, number: plan.number }, 'build begins');
    run.begin();
    entry.over = this.carry(entry, run, () => this.order.spool.create(assign, slot, Date.now()));
  }

  cancel(ref: AttemptRef, reason: Reason): void {
    this.entry(ref)?.run?.interrupt({ kind: 'cancel', reason });
  }

  /** Ends a build that must not go on, for good; settles when its workspace is gone. */
  async end(ref: AttemptRef, reason: Reason): Promise<void> {
    const entry = this.entry(ref);
    entry?.run?.interrupt({ kind: 'timeout', reason });
    await entry?.over;
  }

  /** Stops everything that runs, and what would still begin. */
  halt(reason: Reason): void {
    this.halted = { kind: 'halt', reason };
    for (const { run } of this.entries.values()) run?.interrupt(this.halted);
  }

  abandon(ref: AttemptRef, reason: Reason): void {
    const entry = this.entry(ref);
    entry?.log.info({ reason }, 'build is given up here');
    entry?.run?.interrupt({ kind: 'abandon', reason });
    this.forget(ref);
  }

  release(ref: AttemptRef): void {
    this.forget(ref);
  }

  trim(ref: AttemptRef, seq: number): void {
    const entry = this.entry(ref);
    entry?.journal?.trim(seq).catch((err: unknown) => entry.log.warn({ err }, 'spool not trimmed'));
  }

  journal(ref: AttemptRef): Journal | undefined {
    return this.entry(ref)?.journal;
  }

  /** Settles when nothing runs and no workspace is left; what is not delivered stays in the spool. */
  async settled(): Promise<void> {
    await Promise.all([...this.entries.values()].map(({ over }) => over));
    await Promise.all([...this.entries.values()].map(({ journal }) => journal?.close()));
  }

  /** Settles when all that was said is in the spool, as far as it goes by now. */
  async flushed(): Promise<void> {
    await Promise.all([...this.entries.values()].map(({ journal }) => journal?.flushed()));
  }

  private runOf(entry: Entry, order: Pick<BuildOrder, 'slot' | 'plan' | 'earlier'>): BuildRun {
    const { ref, log } = entry;
    const journal = (): Journal => {
      if (!entry.journal) throw new FarmError('worker-error', 'there is no journal');
      return entry.journal;
    };
    const append = async (record: NewRecord): Promise<void> => {
      const seq = await journal().append(record);
      const finished = record.kind === 'event' && record.event.kind === 'build.finished';
      this.report({ type: 'journaled', ...ref, seq, finished });
    };
    const launching = (step: number, to: string) => journal().noteLaunch({ step, ref: to });
    const stopping = (stop: StopNote) => journal().noteStop(stop);
    const { budget } = this.order.spool;
    const around = { ...this.order, budget, log };
    const run = new BuildRun({ ...order, attempt: ref, append, launching, stopping }, around);
    if (this.halted) run.interrupt(this.halted);
    return run;
  }

  private entry(ref: AttemptRef): Entry | undefined {
    return this.entries.get(key(ref));
  }

  private async carry(entry: Entry, run: BuildRun, create?: () => Promise<Journal>): Promise<void> {
    const { ref, log } = entry;
    try {
      if (create) entry.journal = await create();
      await run.run();
      log.info('build ended');
    } catch (error) {
      log.error({ err: error }, 'the spool fails; the build is lost here');
      run.interrupt({ kind: 'abandon', reason: { code: 'worker-error', message: 'spool' } });
      if (!entry.journal) await new Promise((resolve) => setTimeout(resolve, REST_MS));
      const message = error instanceof Error ? error.message : String(error);
      this.report({ type: 'broken', ...ref, reason: { code: 'worker-error', message } });
    }
    try {
      // Its artifacts are with the master by now, so nothing needs the workspace any more.
      await run.dispose();
    } catch (error) {
      log.error({ err: error }, 'the workspace is not removed; the next sweep finds it');
    }
  }

  private forget(ref: AttemptRef): void {
    const entry = this.entry(ref);
    if (!entry) return;
    const gone = async (): Promise<void> => {
      await entry.over;
      try {
        await entry.journal?.destroy();
      } catch (error) {
        entry.log.error({ err: error }, 'the spool of a finished build is not removed');
      }
      this.entries.delete(key(ref));
      // Not `...ref`: it may be a command, whose `type` would win.
      this.report({ type: 'cleaned', ...entry.ref });
    };
    gone().catch((err: unknown) => entry.log.error({ err }, 'a finished build is not forgotten'));
  }
}

const key = ({ build, epoch }: AttemptRef): string => `${build}-${epoch}`;
