import type { CheckedChunk } from './chunk.js';
import type { JournalRecord, Outcome } from './ingest.js';

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

/** A record that is not committed. */
export interface Pending {
  source: JournalSource;
  record: JournalRecord;
  /** What it takes in memory. */
  bytes: number;
  since: number;
  checked: CheckedChunk | undefined;
}

/**
 * Records that wait for a commit, of each worker in order. A batch has a share for each worker that has some waiting,
 * however much the others have: what one worker sends does not make the others wait longer than a commit.
 */
export class PendingRecords {
  /** By worker; the one whose turn is next comes first. */
  readonly #queues = new Map<string, Pending[]>();
  #bytes = 0;

  /** Of all that waits, and of what was taken and is not settled. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#queues.size === 0;
  }

  add(item: Pending): void {
    const { id } = item.source.worker;
    const queue = this.#queues.get(id);
    if (queue) queue.push(item);
    else this.#queues.set(id, [item]);
    this.#bytes += item.bytes;
  }

  /** The next batch: at most so many records and bytes, but one record at the least. */
  take(most: { bytes: number; records: number }): Pending[] {
    const batch: Pending[] = [];
    let bytes = 0;
    const queues = [...this.#queues];
    for (const [n, [id, queue]] of queues.entries()) {
      if (batch.length > 0 && (bytes >= most.bytes || batch.length >= most.records)) break;
      // What one leaves of its share is for those behind it.
      const left = queues.length - n;
      const room = { bytes: most.bytes - bytes, records: most.records - batch.length };
      const taken = queue.splice(0, fitting(queue, room.bytes / left, room.records / left));
      for (const item of taken) bytes += item.bytes;
      batch.push(...taken);
      // Behind the others, for the next batch.
      this.#queues.delete(id);
      if (queue.length > 0) this.#queues.set(id, queue);
    }
    return batch;
  }

  /** They are committed, or given up: their sources are told. */
  settle(batch: readonly Pending[]): void {
    const bytes = new Map<JournalSource, number>();
    for (const item of batch) bytes.set(item.source, (bytes.get(item.source) ?? 0) + item.bytes);
    for (const count of bytes.values()) this.#bytes -= count;
    for (const [source, count] of bytes) source.drained(count);
  }
}

/** How many of the first records fit; one at the least. */
function fitting(queue: readonly Pending[], bytes: number, records: number): number {
  let sum = 0;
  let count = 0;
  for (const item of queue) {
    if (count > 0 && (sum + item.bytes > bytes || count >= records)) break;
    sum += item.bytes;
    count += 1;
  }
  return count;
}
