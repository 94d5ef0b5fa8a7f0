/**
 * Watches the disks that builds need: the worker's data folder (spool, mirrors) and, where this machine can see it,
 * the folder in which the engine keeps images and volumes. Below its watermark a disk makes the worker say so with
 * each heartbeat, upon which the master gives it no work; copies of repositories and images that the
 * farm pulled go, longest unused first, if they lie there. It never touches what anybody else put on the disk.
 */
import type { Heartbeat } from '@impgem/protocol';
import { stat, statfs } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Storage } from '../executor/index.js';
import { lowness, type Free, type Watermark } from './lowness.js';

/** As often as heartbeats go. */
const LOOK_MS = 10_000;
/** Low stays low until so much more is free, or work would come and go with each file. */
const CALM = 1.1;

/** What a heartbeat says of disks. */
export type DiskReport = Pick<
  Heartbeat,
  'diskFree' | 'inodesFree' | 'engineDiskFree' | 'engineInodesFree' | 'lowDisk' | 'evicted'
>;

export interface DiskOrder {
  dataDir: string;
  /** Of the executor, if it keeps anything outside the data folder. */
  storage: Storage | undefined;
  /** What lies in the data folder and can be had again; removes some until there is enough, answers how many. */
  cache?: { evict(enough: () => Promise<boolean>): Promise<number> };
  watermark: Watermark;
  log: Logger;
  /** What is free at a path, for tests. */
  measure?: (folder: string) => Promise<Free>;
}

interface Places {
  data: Free;
  engine: Free | undefined;
}

export class Disk {
  #report: DiskReport = { diskFree: 0, evicted: 0 };
  #evicted = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(private readonly order: DiskOrder) {}

  /** Looks once, makes room if there is none, and goes on looking. */
  async start(): Promise<void> {
    await this.look();
    this.#timer = setInterval(() => {
      this.look().catch((err: unknown) =>
        this.order.log.error({ err }, 'cannot look at the disks'),
      );
    }, LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** What the last look saw. */
  get report(): DiskReport {
    return this.#report;
  }

  /** One look at a time; settles when there is room again, or nothing more can be done for it. */
  async look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    await this.#looking;
  }

  async #look(): Promise<void> {
    const places = await this.#places();
    this.#tell(places);
    if (this.#report.lowDisk === undefined) return;
    const { storage, cache } = this.order;
    const isLow = async (): Promise<boolean> => {
      const { data } = await this.#places();
      return lowness([data], this.#mark()) !== undefined;
    };
    if (cache !== undefined && (await isLow())) {
      const mirrors = await cache.evict(async () => !(await isLow()));
      if (mirrors > 0)
        this.order.log.warn({ mirrors }, 'removed copies of repositories, to make room');
      this.#tell(await this.#places());
    }
    if (storage === undefined || !this.#helps(await this.#places())) return;
    const gone = await storage.evict(async () => {
      const now = await this.#places();
      this.#tell(now);
      return !this.#helps(now);
    });
    if (gone.length === 0) return;
    this.#evicted += gone.length;
    this.order.log.warn({ images: gone }, 'removed images that the farm pulled, to make room');
    this.#tell(await this.#places());
  }

  /** Whether what the executor can remove lies on a disk that is low. */
  #helps({ data, engine }: Places): boolean {
    if (engine === undefined) return false;
    const mark = this.#mark();
    if (lowness([engine], mark) !== undefined) return true;
    return engine.device === data.device && lowness([data], mark) !== undefined;
  }

  #tell({ data, engine }: Places): void {
    const { lowDisk: before } = this.#report;
    const low = lowness(engine === undefined ? [data] : [data, engine], this.#mark());
    this.#report = {
      diskFree: data.bytes,
      ...(data.inodes === undefined ? {} : { inodesFree: data.inodes }),
      ...(engine === undefined ? {} : { engineDiskFree: engine.bytes }),
      ...(engine?.inodes === undefined ? {} : { engineInodesFree: engine.inodes }),
      ...(low === undefined ? {} : { lowDisk: low }),
      evicted: this.#evicted,
    };
    if (low !== undefined && before === undefined)
      this.order.log.warn({ why: low }, 'takes no work');
    if (low === undefined && before !== undefined) this.order.log.info('takes work again');
  }

  /** While it is low it takes more to be well again. */
  #mark(): Watermark {
    const { bytes, inodes } = this.order.watermark;
    if (this.#report.lowDisk === undefined) return { bytes, inodes };
    return { bytes: bytes * CALM, inodes: inodes * CALM };
  }

  async #places(): Promise<Places> {
    const { dataDir, storage, measure = free } = this.order;
    const data = await measure(dataDir);
    const root = await storage?.root();
    // What cannot be seen is not known: an engine on another machine, or outside of the worker's container.
    const engine = root === undefined ? undefined : await measure(root).catch(() => undefined);
    return { data, engine };
  }
}

/** Free for a user without rights, as the worker's files are written. */
export async function free(folder: string): Promise<Free> {
  const [{ bavail, bsize, files, ffree }, { dev }] = await Promise.all([
    statfs(folder),
    stat(folder),
  ]);
  return {
    folder,
    device: dev,
    // Some file systems of the network claim more than the wire can say.
    bytes: Math.min(bavail * bsize, Number.MAX_SAFE_INTEGER),
    // Some file systems make inodes as they need them, and count none.
    inodes: files === 0 ? undefined : Math.min(ffree, Number.MAX_SAFE_INTEGER),
  };
}
