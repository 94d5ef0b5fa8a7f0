import { fullJitter } from '@impgem/kit';
import type { ModelItem } from '@impgem/testkit';
import type { JournalEvent, LogFrame } from '@impgem/protocol';
import type { Master } from './master.js';
import type { MasterSession } from './master-session.js';

const RECORD_BYTES = 512;
const BATCH_RECORDS = 40;
const RETRY = { baseMs: 100, capMs: 2000 };

interface Pending {
  source: MasterSession;
  record: JournalEvent | LogFrame;
  bytes: number;
}

/** Takes the journals of all workers in, in group commits; nothing is told before its commit. */
export class MasterJournal {
  readonly #queue: Pending[] = [];
  #draining = false;

  constructor(private readonly master: Master) {}

  get isIdle(): boolean {
    return !this.#draining && this.#queue.length === 0;
  }

  append(source: MasterSession, record: Pending['record']): number {
    const bytes = RECORD_BYTES + ('kind' in record ? record.payload.length : 0);
    this.#queue.push({ source, record, bytes });
    if (!this.#draining) {
      this.#draining = true;
      this.#drain();
    }
    return bytes;
  }

  #drain(): void {
    if (this.#queue.length === 0 || this.master.stopping) {
      this.#draining = false;
      return;
    }
    // Frames of the same turn come along.
    this.master.process.after(0.2, () => {
      const batch = this.#queue.splice(0, BATCH_RECORDS);
      this.#commit(batch, 0);
    });
  }

  #commit(batch: readonly Pending[], attempt: number): void {
    if (this.master.stopping && attempt > 0) return;
    const items = batch.map(({ source, record }): ModelItem => ({ worker: source.worker, record }));
    this.master.transaction(
      (db) => db.commitBatch(items),
      (outcomes) => {
        for (const { index, outcome } of outcomes) batch[index]?.source.outcome(outcome);
        for (const { source, bytes } of batch) source.drained(bytes);
        this.#drain();
      },
      () => {
        const ms = fullJitter(attempt, RETRY, () => this.master.world.chance.next());
        this.master.process.after(ms, () => this.#commit(batch, attempt + 1));
      },
    );
  }
}
