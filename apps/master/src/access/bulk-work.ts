import { Injectable } from '@nestjs/common';
import { type Pause, slices } from '@impgem/kit';
import { FairQueue } from './fair-queue.js';

/** Twice as long as a slice (`slices` in kit): on a busy thread bulk work gets a third of the time. */
const REST_MS = 10;
const BUSY = 0.9;
/** Of a log: as much as is inflated and sent in a slice. */
const SLICE_BYTES = 256 * 1024;

/**
 * What takes long on the main thread, since somebody asked for much: logs, archives, the history of live sockets. It is done
 * in slices. Of all of it one slice runs in each turn of the event loop, and callers alternate, so that short requests
 * and workers wait for one slice at the most. On a busy thread it rests between them.
 */
@Injectable()
export class BulkWork {
  readonly #turns = new FairQueue(1, 1);
  #before = performance.eventLoopUtilization();

  /** For one piece of work of this token's that waits for little. */
  slices(tokenId: string): Pause {
    return slices(
      () => performance.now(),
      () => this.#turn(tokenId),
    );
  }

  /** The same bytes, made in slices. */
  async *paced(parts: AsyncIterable<Uint8Array>, tokenId: string): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const part of parts) {
      yield part;
      bytes += part.length;
      if (bytes < SLICE_BYTES) continue;
      bytes = 0;
      await this.#turn(tokenId);
    }
  }

  async #turn(tokenId: string): Promise<void> {
    const end = await this.#turns.take(tokenId);
    if (this.#isBusy()) setTimeout(end, REST_MS);
    else setImmediate(end);
  }

  /** Whether the thread has had next to no pause since the last slice. */
  #isBusy(): boolean {
    const { utilization } = performance.eventLoopUtilization(this.#before);
    this.#before = performance.eventLoopUtilization();
    return utilization > BUSY;
  }
}
