import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { MasterConfig, threadFile } from '../platform/index.js';
import type { FarmAnswer } from './farm-thread.js';

/** A thread that nobody needs for so long ends. */
const IDLE_MS = 30_000;
/** Measured: a file with as many values as one may have takes less than 48. */
const MEMORY = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8 };

const THREAD = threadFile('farm-thread', import.meta.url);

/**
 * Reads farm files in a thread, one after the other: the worst that the bounds allow takes long, and must cost who sends it
 * and nobody else.
 */
@Injectable()
export class FarmChecker implements OnApplicationShutdown {
  #thread: Worker | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;

  constructor(private readonly config: MasterConfig) {}

  /** Rejects with `invalid-request` when it takes longer than `limits.checkMs`, or more memory than a farm file needs. */
  read(source: string): Promise<FarmAnswer> {
    const answer = this.#turn.then(() => this.#read(source));
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#end();
  }

  async #read(source: string): Promise<FarmAnswer> {
    clearTimeout(this.#idle);
    const thread = (this.#thread ??= this.#start());
    thread.ref();
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.config.limits.checkMs);
    try {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      thread.postMessage(source);
      const [answer] = (await once(thread, 'message', { signal: late.signal })) as [FarmAnswer];
      thread.unref();
      this.#idle = setTimeout(() => void this.#end().catch(() => undefined), IDLE_MS);
      this.#idle.unref();
      return answer;
    } catch (error) {
      await this.#end();
      const { code } = error as NodeJS.ErrnoException;
      if (!late.signal.aborted && code !== 'ERR_WORKER_OUT_OF_MEMORY') throw error;
      throw new FarmError(
        'invalid-request',
        'the farm file takes too long, or too much memory, to check: make it smaller',
        {},
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #start(): Worker {
    const thread = new Worker(THREAD, { resourceLimits: MEMORY });
    // Whoever waits for its answer hears of it, too.
    thread.on('error', () => {
      if (this.#thread === thread) this.#thread = undefined;
    });
    return thread;
  }

  async #end(): Promise<void> {
    clearTimeout(this.#idle);
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.terminate();
  }
}
