import { inMiB } from '@impgem/kit';
/**
 * Ends the build that grew most when the disk that workspaces lie on falls below its floor, before the disk is full
 * for all who use it: other builds, the spool, on one machine the database. What is free is asked every second, which
 * costs next to nothing; how big workspaces are only when there is need, once below the watermark and again below the
 * floor, so that growth counts and not age.
 */
import type { Logger } from 'pino';
import type { Attempt, WorkspaceUse } from '../executor/index.js';
import { lowness, type Free, type Watermark } from './lowness.js';

const LOOK_MS = 1_000;
/** A build that grew by less, in bytes, is not what fills the disk. */
const WORTH = 64 * 1024 * 1024;

export interface GuardOrder {
  /** The disk that workspaces lie on; undefined when it cannot be seen from here. */
  measure: () => Promise<Free | undefined>;
  /** Below it no new work is taken. */
  watermark: Watermark;
  /** Below it a build is ended. */
  floor: Watermark;
  usage: () => Promise<readonly WorkspaceUse[]>;
  /** Ends a build; settles when its workspace is gone. */
  end: (attempt: Attempt, message: string) => Promise<void>;
  log: Logger;
}

const keyOf = ({ build, epoch }: Attempt): string => `${build}-${epoch}`;

export class DiskGuard {
  #before: ReadonlyMap<string, number> | undefined;
  #looking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #told = false;

  constructor(private readonly order: GuardOrder) {}

  start(): void {
    this.#timer = setInterval(() => {
      this.look().catch((err: unknown) => this.order.log.error({ err }, 'cannot watch the disk'));
    }, LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** One look at a time; settles when it is done with what it found. */
  async look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { measure, watermark, floor, usage, end, log } = this.order;
    const place = await measure();
    if (!place || lowness([place], watermark) === undefined) {
      this.#before = undefined;
      this.#told = false;
      return;
    }
    if (lowness([place], floor) === undefined) {
      this.#before ??= sizesOf(await usage());
      return;
    }
    const most = mostGrown(await usage(), this.#before);
    if (!most) {
      if (!this.#told) log.error({ place }, 'the disk is about to be full, and no build fills it');
      this.#told = true;
      return;
    }
    const message =
      `${place.folder} had ${inMiB(place.bytes)} left, and this build had grown most, by ${inMiB(most.grown)}: ` +
      'it was ended before the disk was full';
    log.warn({ ...most.attempt, free: place.bytes, grown: most.grown }, message);
    await end(most.attempt, message);
  }
}

function sizesOf(use: readonly WorkspaceUse[]): ReadonlyMap<string, number> {
  return new Map(use.map(({ attempt, bytes }) => [keyOf(attempt), bytes]));
}

/** The build that takes most more than before; undefined when none grew by what is worth it. */
export function mostGrown(
  use: readonly WorkspaceUse[],
  before: ReadonlyMap<string, number> = new Map(),
): { attempt: Attempt; grown: number } | undefined {
  const grown = use
    .map(({ attempt, bytes }) => ({ attempt, grown: bytes - (before.get(keyOf(attempt)) ?? 0) }))
    .toSorted((a, b) => b.grown - a.grown);
  const [most] = grown;
  return most && most.grown >= WORTH ? most : undefined;
}
