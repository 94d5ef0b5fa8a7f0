import { isOutage, logger } from '../platform/index.js';

const log = logger('live');
/** After a pass that failed, e.g. since the database is away. */
const RETRY_MS = 500;

/**
 * Runs a pass when it is woken, one at a time; being woken during a pass means one more after it. A pass may ask
 * for another one after some milliseconds.
 */
export class Wake {
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly pass: () => Promise<{ againMs?: number }>) {}

  wake(): void {
    if (this.#stopped) return;
    this.#again = true;
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      let againMs: number | undefined;
      try {
        ({ againMs } = await this.pass());
      } catch (error) {
        if (!isOutage(error)) log.error({ err: error }, 'a pass of the live hub failed');
        againMs = RETRY_MS;
      }
      clearTimeout(this.#timer);
      if (againMs !== undefined && !this.#stopped)
        this.#timer = setTimeout(() => this.wake(), againMs);
    }
    // In the same turn as the last look at `again`, so that no wake falls between.
    this.#running = undefined;
  }
}
