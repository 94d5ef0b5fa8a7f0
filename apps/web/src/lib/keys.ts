import type { FarmEvent } from '@impgem/client';
import type { BuildFilter } from './api.js';

/** What is cached under which name. */
export const keys = {
  session: ['session'] as const,
  builders: ['builders'] as const,
  builder: (name: string) => ['builders', name] as const,
  builds: ['builds'] as const,
  buildList: (filter: BuildFilter) => ['builds', filter] as const,
  build: (id: number) => ['build', id] as const,
  requests: ['requests'] as const,
  requestsOf: (builder: string) => ['requests', builder] as const,
  request: (id: number) => ['request', id] as const,
  workers: ['workers'] as const,
};

/** What an event of the farm makes old. */
export function staleAfter(event: FarmEvent): (readonly unknown[])[] {
  const topic = event.kind.slice(0, event.kind.indexOf('.'));
  const build = event.build === undefined ? [] : [keys.build(event.build)];
  const request =
    event.request === undefined ? [['request'] as const] : [keys.request(event.request)];
  switch (topic) {
    case 'farm':
      return [keys.builders];
    case 'request':
      return [keys.builders, keys.requests, ...request];
    case 'build':
      return [keys.builders, keys.builds, keys.requests, keys.workers, ...build, ...request];
    case 'step':
    case 'property':
    case 'artifact':
      return build;
    case 'worker':
      return [keys.workers];
    default:
      return [];
  }
}

/**
 * Gathers keys and refreshes them together, `waitMs` after the first and never while a refresh is under way: on a
 * busy farm the page asks at the master's pace, not at that of the events.
 */
export class Refresher {
  #stale = new Map<string, readonly unknown[]>();
  #busy = false;

  constructor(
    private readonly refresh: (key: readonly unknown[]) => Promise<unknown>,
    private readonly waitMs = 200,
  ) {}

  add(list: (readonly unknown[])[]): void {
    for (const key of list) this.#stale.set(JSON.stringify(key), key);
    if (!this.#busy && this.#stale.size > 0) void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    while (this.#stale.size > 0) {
      await new Promise((resolve) => setTimeout(resolve, this.waitMs));
      const now = [...this.#stale.values()];
      this.#stale.clear();
      await Promise.allSettled(now.map((key) => this.refresh(key)));
    }
    this.#busy = false;
  }
}
