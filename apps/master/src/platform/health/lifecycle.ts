/** Where the master is between its start and its end. One per process. */
export class Lifecycle {
  #state: 'starting' | 'serving' | 'stopping' = 'starting';

  /** `starting`: the database is not there or not migrated yet. `stopping`: nothing new is taken. */
  get state(): 'starting' | 'serving' | 'stopping' {
    return this.#state;
  }

  serve(): void {
    if (this.#state === 'starting') this.#state = 'serving';
  }

  stop(): void {
    this.#state = 'stopping';
  }
}
