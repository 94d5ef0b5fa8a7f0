import { setTimeout as sleep } from 'node:timers/promises';
import { Interrupted } from '../exit-codes.js';
import type { Child } from './child.js';

/** How long to wait before a program is started again, in milliseconds. */
interface Pace {
  /** After the first end; each further one doubles it. */
  baseMs: number;
  capMs: number;
  /** After it was up for so long, the next end counts as the first again. */
  wellMs: number;
}

const PACE: Pace = { baseMs: 500, capMs: 30_000, wellMs: 60_000 };

interface Parts {
  name: string;
  /** Starts the program; called again for each start. */
  start(): Promise<Child> | Child;
  /** Settles when it is up; rejects when it ends before, or when `signal` ends the wait. */
  up(child: Child, signal: AbortSignal, isFirst: boolean): Promise<void>;
  say(line: string): void;
  pace?: Pace;
}

/**
 * A program that `impgem up` keeps running: when it ends by itself, that is said, and it is started again after a
 * while. What it was doing goes on: builds survive their master and their worker. One that never came up is given up.
 */
export class Kept {
  #child: Child | undefined;
  #loop: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  readonly #pace: Pace;
  constructor(readonly parts: Parts) {
    this.#pace = parts.pace ?? PACE;
  }

  get child(): Child | undefined {
    return this.#child;
  }

  /** The first start. Rejects with the end of its log when it does not come up, or with `Interrupted`. */
  async begin(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw new Interrupted('interrupted');
    this.#child = await this.parts.start();
    await this.parts.up(this.#child, signal, true);
    this.#loop = this.#keep(this.#child);
  }

  /** Ends it, or the wait for its next start. Never rejects. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#child?.stop();
    await this.#loop;
    // One that was started at that very moment.
    await this.#child?.stop();
  }

  async #keep(first: Child): Promise<void> {
    const { signal } = this.#stopping;
    const { baseMs, capMs, wellMs } = this.#pace;
    let child = first;
    let upSince: number | undefined = Date.now();
    for (let ends = 0; ; ends++) {
      await child.exited;
      if (signal.aborted) return;
      if (upSince !== undefined && Date.now() - upSince >= wellMs) ends = 0;
      const waitMs = Math.min(capMs, baseMs * 2 ** Math.min(ends, 20));
      this.#tell(child, upSince !== undefined, waitMs);
      if (!(await pause(waitMs, signal))) return;
      upSince = undefined;
      try {
        child = await this.parts.start();
        this.#child = child;
        await this.parts.up(child, signal, false);
        upSince = Date.now();
        this.parts.say(`the ${this.parts.name} is up again`);
      } catch (error) {
        if (signal.aborted) return;
        // It runs and is not up: its end is waited for. Words that its end does not have are said now.
        if (child.end === undefined) this.parts.say((error as Error).message);
      }
    }
  }

  #tell(child: Child, wasUp: boolean, waitMs: number): void {
    const { name, say } = this.parts;
    const next = `starting it again in ${waitMs / 1000} s`;
    if (wasUp) say(`the ${name} ended by itself (${child.end}); ${next}`);
    else say(`${child.failed(`ended before it was up again (${child.end})`).message}\n${next}`);
  }
}

/** False when the signal ended it. */
async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal }).catch(() => false);
}
