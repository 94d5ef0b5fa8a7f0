import { Injectable } from '@nestjs/common';
import { slices } from '@impgem/kit';
import type { Caller } from './caller.js';
import { FairQueue } from './fair-queue.js';

/** Twice as long as a slice (`slices` in kit): on a busy thread bulk work gets a third of the time. */
const REST_MS = 10;
const BUSY = 0.9;

/** Called between small parts of long work: gives a promise to await when its slice is over. */
export type Pause = () => Promise<void> | undefined;

/**
 * What takes long on the main thread, since somebody asked for much: logs, archives, the history of live sockets. It is done
 * in slices. Of all of it one slice runs in each turn of the event loop, and callers alternate, so that short requests
 * and workers wait for one slice at the most. On a busy thread it rests between them.
 */
@Injectable()
export class BulkWork {
  readonly #turns = new FairQueue(1, 1);
  #before = performance.eventLoopUtilization();

  /** For one piece of work of this caller. */
  slices({ tokenId }: Pick<Caller, 'tokenId'>): Pause {
    return slices(
      () => performance.now(),
      async () => {
        const end = await this.#turns.take(tokenId);
        if (this.#isBusy()) setTimeout(end, REST_MS);
        else setImmediate(end);
      },
    );
  }

  /** Whether the thread has had next to no pause since the last slice. */
  #isBusy(): boolean {
    const { utilization } = performance.eventLoopUtilization(this.#before);
    this.#before = performance.eventLoopUtilization();
    return utilization > BUSY;
  }

  /** The same items, each made in a slice. */
  async *paced<Item>(
    items: AsyncIterable<Item>,
    caller: Pick<Caller, 'tokenId'>,
  ): AsyncGenerator<Item> {
    const pause = this.slices(caller);
    for await (const item of items) {
      yield item;
      await pause();
    }
  }
}
