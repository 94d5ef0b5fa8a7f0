import { Injectable, type BeforeApplicationShutdown, type OnModuleDestroy } from '@nestjs/common';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { fullJitter } from '@impgem/kit';
import { Gauge, Histogram, register } from 'prom-client';
import { Events } from '../events/index.js';
import { Database, isOutage, logger } from '../platform/index.js';
import { checkChunk, type CheckedChunk } from './chunk.js';
import { commitBatch } from './commit.js';
import type { IngestItem, JournalRecord, Outcome } from './ingest.js';

/** Where records come from, and where their fate is told. */
export interface JournalSource {
  readonly worker: { id: string; name: string };
  /** Called after the commit; also for what was not applied. Must not throw. */
  outcome(outcome: Outcome): void;
  /** The records can be neither stored nor refused: a bug of ours. The worker shall come back later. */
  failed(): void;
  /** So many bytes are pending no more. */
  drained(bytes: number): void;
}

/** Uncommitted bytes of all workers, above which sources are to stop reading. */
export const PENDING_LIMIT = 64 * 1024 * 1024;
/** Of one commit. */
const BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_RECORDS = 5000;
/** What a record costs besides its payload. */
const RECORD_BYTES = 512;
const RETRY = { baseMs: 100, capMs: 2000 };
const CONFLICT_RETRIES = 5;

interface Pending {
  source: JournalSource;
  record: JournalRecord;
  bytes: number;
  since: number;
  checked: CheckedChunk | undefined;
}

const log = logger('journal');

/**
 * Takes the journals of all workers in, in group commits: while one commit runs the next batch gathers, so the
 * number of commits follows the database and not the number of workers. Nothing is acknowledged before its
 * commit. While the database is away records wait, bounded, since their sources stop reading.
 */
@Injectable()
export class Journal implements BeforeApplicationShutdown, OnModuleDestroy {
  #queue: Pending[] = [];
  #pendingBytes = 0;
  #draining: Promise<void> | undefined;
  readonly #stop = new AbortController();
  readonly #lag = commitHistogram();

  constructor(
    private readonly db: Database,
    private readonly events: Events,
  ) {
    pendingGauge(() => this.#pendingBytes);
  }

  /** Bytes that are not committed, of all sources. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Takes a record; returns what it adds to the pending bytes. */
  append(source: JournalSource, record: JournalRecord): number {
    const bytes = RECORD_BYTES + ('kind' in record ? record.payload.length : 0);
    // Checked while the commit before it runs.
    const checked = 'kind' in record ? checkChunk(record) : undefined;
    this.#queue.push({ source, record, bytes, since: performance.now(), checked });
    this.#pendingBytes += bytes;
    this.#draining ??= this.#drain().finally(() => (this.#draining = undefined));
    return bytes;
  }

  /** Stops after the commit under way; what waits is sent again by its workers. */
  async beforeApplicationShutdown(): Promise<void> {
    this.#stop.abort();
    await this.#draining;
  }

  onModuleDestroy(): void {
    for (const name of [PENDING_METRIC, LAG_METRIC]) register.removeSingleMetric(name);
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0 && !this.#stop.signal.aborted) {
      // Frames of the same turn of the event loop come along.
      await setImmediate();
      const batch = this.#take();
      try {
        await this.#commit(batch);
      } catch (err) {
        log.error({ err }, 'an error of the master; the workers of a batch send it again');
        failSources(batch);
      }
      this.#settle(batch);
    }
  }

  #take(): Pending[] {
    let bytes = 0;
    let count = 0;
    for (const item of this.#queue) {
      if (count > 0 && (bytes + item.bytes > BATCH_BYTES || count >= BATCH_RECORDS)) break;
      bytes += item.bytes;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  /** Commits, again and again while the database is away. */
  async #commit(batch: readonly Pending[]): Promise<void> {
    let conflicts = 0;
    for (let attempt = 0; !this.#stop.signal.aborted; attempt++) {
      try {
        this.#tell(batch, await this.#once(batch));
        return;
      } catch (error) {
        const retry = isOutage(error) || (isConflict(error) && conflicts++ < CONFLICT_RETRIES);
        if (!retry) return this.#isolate(batch, error);
        if (attempt === 0) log.warn({ err: error }, 'cannot commit; trying again');
        await setTimeout(fullJitter(attempt, RETRY), undefined, {
          signal: this.#stop.signal,
        }).catch(() => undefined);
      }
    }
  }

  #once(batch: readonly Pending[]): Promise<{ index: number; outcome: Outcome }[]> {
    const items = batch.map(({ source, record, checked }): IngestItem => ({
      workerId: source.worker.id,
      record,
      checked,
    }));
    return this.db.transaction(async (tx) => {
      const outcomes = await commitBatch(tx, this.events, items);
      return outcomes.map(({ item, outcome }) => ({ index: items.indexOf(item), outcome }));
    });
  }

  /** One build's records spoil the batch: they must not hold up the others'. */
  async #isolate(batch: readonly Pending[], error: unknown): Promise<void> {
    const builds = groupByBuild(batch);
    if (builds.size > 1) {
      for (const part of builds.values()) await this.#commit(part);
      return;
    }
    log.error({ err: error, build: batch[0]?.record.build }, 'cannot store records of a build');
    failSources(batch);
  }

  #tell(batch: readonly Pending[], outcomes: { index: number; outcome: Outcome }[]): void {
    for (const { index, outcome } of outcomes) batch[index]?.source.outcome(outcome);
    const now = performance.now();
    const oldest = batch[0];
    if (oldest) this.#lag.observe((now - oldest.since) / 1000);
  }

  #settle(batch: readonly Pending[]): void {
    const bytes = new Map<JournalSource, number>();
    for (const item of batch) bytes.set(item.source, (bytes.get(item.source) ?? 0) + item.bytes);
    for (const count of bytes.values()) this.#pendingBytes -= count;
    for (const [source, count] of bytes) source.drained(count);
  }
}

function failSources(batch: readonly Pending[]): void {
  for (const source of new Set(batch.map(({ source }) => source))) source.failed();
}

/** A deadlock or a serialization failure: the same again succeeds. */
function isConflict(error: unknown): boolean {
  const code = (error as { code?: unknown })?.code;
  return code === '40P01' || code === '40001';
}

function groupByBuild(batch: readonly Pending[]): Map<number, Pending[]> {
  const groups = new Map<number, Pending[]>();
  for (const item of batch) {
    const group = groups.get(item.record.build);
    if (group) group.push(item);
    else groups.set(item.record.build, [item]);
  }
  return groups;
}

const PENDING_METRIC = 'impgem_journal_pending_bytes';
const LAG_METRIC = 'impgem_journal_commit_seconds';

function pendingGauge(bytes: () => number): void {
  register.removeSingleMetric(PENDING_METRIC);
  const gauge: Gauge = new Gauge({
    name: PENDING_METRIC,
    help: `Bytes of journals received and not committed; sources stop reading above ${PENDING_LIMIT}`,
    collect: (): void => gauge.set(bytes()),
  });
}

function commitHistogram(): Histogram {
  register.removeSingleMetric(LAG_METRIC);
  return new Histogram({
    name: LAG_METRIC,
    help: 'From the receipt of the oldest record of a batch to its commit',
    buckets: [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
  });
}
