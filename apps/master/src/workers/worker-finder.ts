import { SharedTurns } from '@impgem/kit';
import type { Database } from '../platform/index.js';
import { findWorkers, type KnownWorker } from './worker-rows.js';

/** Workers looked for in one turn to the database. */
const MOST = 500;

/**
 * Finds workers by their ids: those that knock while one look runs share the next, so that a fleet that comes back at
 * once does not queue up for one look each.
 */
export class WorkerFinder {
  readonly #looks: SharedTurns<string, KnownWorker | undefined>;

  constructor(db: Database) {
    this.#looks = new SharedTurns(MOST, async (ids) => {
      const found = await findWorkers(db, ids);
      const byId = new Map(found.map((worker) => [worker.id, worker]));
      return ids.map((id) => byId.get(id));
    });
  }

  /** Undefined when there is none. Rejects as `Database.query` does. */
  find(id: string): Promise<KnownWorker | undefined> {
    return this.#looks.ask(id);
  }
}
