import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { Counter, register } from 'prom-client';
import { Database, MasterConfig } from '../platform/index.js';

/** What other masters took in, and what was claimed since, is counted anew so often at least. */
const FRESH_MS = 10_000;
/** With a full queue it is counted anew so often at most. */
const AGAIN_MS = 1000;

/**
 * How many requests may wait: in all, and of one caller. Counting them costs as much as there are, so what was counted
 * last and what came in here since stand for it; both only err on the high side, and then it is counted again. Several
 * masters may together let in what each of them does within those ten seconds.
 */
@Injectable()
export class QueueBound implements OnModuleDestroy {
  #pending = new Map<string, number>();
  #all = 0;
  #countedAt = -Infinity;
  #counting: Promise<void> | undefined;
  readonly #refused: Counter;

  constructor(
    private readonly db: Database,
    private readonly config: MasterConfig,
  ) {
    register.removeSingleMetric(REFUSED);
    this.#refused = new Counter({
      name: REFUSED,
      help: 'Build requests that were refused, since too many wait: of all, or of one caller',
      labelNames: ['limit'],
    });
  }

  onModuleDestroy(): void {
    register.removeSingleMetric(REFUSED);
  }

  /** Makes room for so many more of this caller, before they are stored. Rejects with `queue-full`. */
  async take(caller: string, count: number): Promise<void> {
    if (performance.now() - this.#countedAt > FRESH_MS) await this.#count();
    if (this.#over(caller, count) && performance.now() - this.#countedAt > AGAIN_MS)
      await this.#count();
    const over = this.#over(caller, count);
    if (over) {
      this.#refused.inc({ limit: over.limit }, count);
      throw new FarmError('queue-full', over.message);
    }
    this.#all += count;
    this.#pending.set(caller, (this.#pending.get(caller) ?? 0) + count);
  }

  #over(caller: string, count: number): { limit: 'all' | 'caller'; message: string } | undefined {
    const { pendingRequests, pendingRequestsPerCaller } = this.config.limits;
    const more = count === 1 ? 'one more' : `${count} more`;
    if (this.#all + count > pendingRequests)
      return {
        limit: 'all',
        message: `${this.#all} build requests wait, and ${more} would be above ${pendingRequests} (IMPGEM_QUEUE_MAX); try again when some are done, or cancel some`,
      };
    const mine = this.#pending.get(caller) ?? 0;
    if (mine + count > pendingRequestsPerCaller)
      return {
        limit: 'caller',
        message: `${mine} build requests of ${caller} wait, and ${more} would be above ${pendingRequestsPerCaller} (IMPGEM_QUEUE_MAX_PER_CALLER); try again when some are done, or cancel some`,
      };
    return undefined;
  }

  /** Several that ask at once count once. */
  #count(): Promise<void> {
    this.#counting ??= this.#countNow().finally(() => (this.#counting = undefined));
    return this.#counting;
  }

  async #countNow(): Promise<void> {
    const rows = await this.db.query<{ caller: string; count: number }>(COUNT);
    this.#pending = new Map(rows.map(({ caller, count }) => [caller, count]));
    this.#all = rows.reduce((sum, { count }) => sum + count, 0);
    this.#countedAt = performance.now();
  }
}

const REFUSED = 'impgem_queue_refused_total';
const COUNT = `
  SELECT submitted_by AS caller, count(*) AS count FROM build_requests WHERE state = 'pending' GROUP BY submitted_by`;
