import { deferred, type Deferred } from '@impgem/kit';
import type { Database } from '../platform/index.js';
import { findWorkers, type KnownWorker } from './worker-rows.js';

/** Workers looked for in one turn to the database. */
const MOST = 500;

interface Wanted {
  id: string;
  answer: Deferred<KnownWorker | undefined>;
}

/**
 * Finds workers by their ids: those that knock while one look runs share the next, so that a fleet that comes back at
 * once does not queue up for one look each.
 */
export class WorkerFinder {
  #wanted: Wanted[] = [];
  #looking = false;

  constructor(private readonly db: Database) {}

  /** Undefined when there is none. Rejects as `Database.query` does. */
  find(id: string): Promise<KnownWorker | undefined> {
    const answer = deferred<KnownWorker | undefined>();
    this.#wanted.push({ id, answer });
    if (!this.#looking) void this.#look();
    return answer.promise;
  }

  async #look(): Promise<void> {
    this.#looking = true;
    while (this.#wanted.length > 0) {
      const batch = this.#wanted.splice(0, MOST);
      try {
        const found = await findWorkers(
          this.db,
          batch.map(({ id }) => id),
        );
        const byId = new Map(found.map((worker) => [worker.id, worker]));
        for (const { id, answer } of batch) answer.resolve(byId.get(id));
      } catch (error) {
        for (const { answer } of batch) answer.reject(error);
      }
    }
    this.#looking = false;
  }
}
