import { Injectable, type BeforeApplicationShutdown, type OnModuleDestroy } from '@nestjs/common';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { fullJitter } from '@impgem/kit';
import { reasonOf } from '@impgem/protocol';
import { Counter, Gauge, Histogram, register } from 'prom-client';
import { Events } from '../events/index.js';
import { Database, isOutage, logger, MasterConfig } from '../platform/index.js';
import { Leases } from '../scheduling/index.js';
import { checkChunk } from './chunk.js';
import { commitBatch } from './commit.js';
import type { IngestItem, JournalRecord, Outcome } from './ingest.js';
import { Room } from './room.js';
import { PendingRecords, type JournalSource, type Pending } from './pending.js';

/** Uncommitted bytes of all workers, above which sources are to stop reading. */
export const PENDING_LIMIT = 64 * 1024 * 1024;
/** Of one commit. */
const BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_RECORDS = 5000;
/** What a record costs besides its payload. */
const RECORD_BYTES = 512;
const RETRY = { baseMs: 100, capMs: 2000 };
const CONFLICT_RETRIES = 5;

const log = logger('journal');

/**
 * Takes the journals of all workers in, in group commits: while one commit runs the next batch gathers, so the
 * number of commits follows the database and not the number of workers. Nothing is acknowledged before its
 * commit. While the database is away records wait, bounded, since their sources stop reading.
 */
@Injectable()
export class Journal implements BeforeApplicationShutdown, OnModuleDestroy {
  readonly #pending = new PendingRecords();
  #draining: Promise<void> | undefined;
  readonly #stop = new AbortController();
  readonly #lag = commitHistogram();

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly leases: Leases,
    private readonly config: MasterConfig,
    private readonly room: Room,
  ) {
    pendingGauge(() => this.#pending.bytes);
  }

  /** Bytes that are not committed, of all sources. */
  get pendingBytes(): number {
    return this.#pending.bytes;
  }

  /**
   * Takes a record; returns what it adds to the pending bytes. `size` is what it takes in memory, if the caller knows.
   */
  append(source: JournalSource, record: JournalRecord, size = sizeOf(record)): number {
    const bytes = RECORD_BYTES + size;
    // Checked while the commit before it runs.
    const checked = 'kind' in record ? checkChunk(record) : undefined;
    this.#pending.add({ source, record, bytes, since: performance.now(), checked });
    this.#draining ??= this.#drain();
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
    while (!this.#pending.isEmpty && !this.#stop.signal.aborted) {
      // Frames of the same turn of the event loop come along.
      await setImmediate();
      const batch = this.#pending.take({ bytes: BATCH_BYTES, records: BATCH_RECORDS });
      try {
        await this.#commit(batch);
      } catch (err) {
        log.error({ err }, 'an error of the master; the workers of a batch send it again');
        failSources(batch);
      } finally {
        this.#pending.settle(batch);
      }
    }
    // In the same turn as the last look, so that no record falls between.
    this.#draining = undefined;
  }

  async #commit(batch: readonly Pending[]): Promise<void> {
    let spoiled: { error: unknown } | undefined;
    await this.#insist(
      batch,
      async () => this.#tell(batch, await this.#once(batch)),
      (error) => (spoiled = { error }),
    );
    if (spoiled) await this.#isolate(batch, spoiled.error);
  }

  /** Again and again while the database is away. What else fails is for `failed`, or the sources are told. */
  async #insist(
    batch: readonly Pending[],
    act: () => Promise<void>,
    failed: (error: unknown) => void = (err) => {
      log.error({ err, build: batch[0]?.record.build }, 'cannot store records of a build');
      failSources(batch);
    },
  ): Promise<void> {
    let conflicts = 0;
    for (let attempt = 0; !this.#stop.signal.aborted; attempt++) {
      try {
        return await act();
      } catch (error) {
        const retry = isOutage(error) || (isConflict(error) && conflicts++ < CONFLICT_RETRIES);
        if (!retry) return failed(error);
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
      const outcomes = await commitBatch(tx, this.events, items, this.config.limits);
      const places = new Map(items.map((item, index) => [item, index]));
      return outcomes.map(({ item, outcome }) => ({ index: places.get(item) ?? -1, outcome }));
    });
  }

  /** The records of one build spoil the batch: they must not hold up the others', nor be sent for ever. */
  async #isolate(batch: readonly Pending[], error: unknown): Promise<void> {
    const [first] = batch;
    if (first && batch.length === 1) return this.#giveUp(first, error);
    for (const half of halves(batch)) await this.#commit(half);
  }

  /** A record that the database will never take ends its attempt, and no other one. */
  async #giveUp(item: Pending, error: unknown): Promise<void> {
    const { source, record } = item;
    const { build, epoch, seq } = record;
    log.error({ err: error, build, seq, worker: source.worker.name }, 'cannot store a record');
    if (!isOfRecord(error)) return source.failed();
    const what = 'kind' in record ? 'a log chunk' : record.event.kind;
    const why = error instanceof Error ? error.message : String(error);
    // In the letters that any database has.
    const text = `record ${seq} of the build (${what}): ${why}`.replace(/[^ -~]/g, '?');
    const reason = reasonOf('unstorable', text);
    await this.#insist([item], async () => {
      await this.db.transaction((tx) => this.leases.end(tx, { build, epoch }, reason));
      this.#outcome(item, { type: 'taken', build, epoch, reason });
    });
  }

  #outcome({ source }: Pending, outcome: Outcome): void {
    if (outcome.type === 'taken' && outcome.reason) {
      const { build, epoch, reason } = outcome;
      log.warn({ build, epoch, worker: source.worker.name, reason }, 'ended a build');
      ended.inc({ reason: reason.code });
    }
    source.outcome(outcome);
  }

  #tell(batch: readonly Pending[], outcomes: { index: number; outcome: Outcome }[]): void {
    for (const { index, outcome } of outcomes) {
      const item = batch[index];
      if (item) this.#outcome(item, outcome);
    }
    const stored = outcomes.filter(({ outcome: { type } }) => type === 'committed');
    const builds = new Set(stored.map(({ outcome: { build } }) => build));
    this.room.wrote(batch.filter(({ record }) => builds.has(record.build)));
    const now = performance.now();
    const oldest = batch[0];
    if (oldest) this.#lag.observe((now - oldest.since) / 1000);
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

/**
 * Whether the error can be of the record itself: data that the database does not take (classes 22, 23 and 54), or an
 * error of ours. Everything else is of the database, whatever it is asked to store.
 */
function isOfRecord(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  const state = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code.slice(0, 2) : '';
  return state === '' || ['22', '23', '54'].includes(state);
}

/** Half of the builds and the other half; the first half of the records and the other, when all are of one build. */
function halves(batch: readonly Pending[]): Pending[][] {
  const builds = [...new Set(batch.map(({ record }) => record.build))];
  if (builds.length === 1) {
    const middle = batch.length >> 1;
    return [batch.slice(0, middle), batch.slice(middle)];
  }
  const first = new Set(builds.slice(0, builds.length >> 1));
  return [
    batch.filter(({ record }) => first.has(record.build)),
    batch.filter(({ record }) => !first.has(record.build)),
  ];
}

/** In memory: text has two bytes for a character, at most, and each value some of its own. */
function sizeOf(record: JournalRecord): number {
  if ('kind' in record) return record.payload.length;
  return 2 * JSON.stringify(record.event).length;
}

const ended = new Counter({
  name: 'impgem_builds_ended_by_bound_total',
  help: 'Builds that the master ended since they told of too much, or of what cannot be stored, by reason',
  labelNames: ['reason'],
});

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
