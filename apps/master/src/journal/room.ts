import { inMiB } from '@impgem/kit';
import { statfs } from 'node:fs/promises';
import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { reasonOf } from '@impgem/protocol';
import { Counter } from 'prom-client';
import { Database, DataDisk, isOutage, logger, MasterConfig } from '../platform/index.js';
import { Leases } from '../scheduling/index.js';
import type { Pending } from './pending.js';

const log = logger('journal');

/** How often is looked at the disk; and besides, after so many bytes were stored. */
const LOOK_MS = 5000;
const LOOK_BYTES = 64 * 1024 ** 2;
/** What a build wrote counts half after each look, so that the one that writes most now is found. */
const FADE = 0.5;
/** A build that wrote less is not what fills a disk. */
const LEAST_BYTES = 64 * 1024;

interface Writer {
  item: Pending;
  /** Stored lately. */
  bytes: number;
}

/**
 * Ends the build that writes most when the disk of the logs falls below what is to stay free, before the database, and so
 * the farm, has none left. It sees the disk of the data folder, where the embedded database lies, and that of a database on this
 * machine whose folder it may see; the disk of another machine it cannot see. Each master looks after the
 * builds whose records it takes.
 */
@Injectable()
export class Room implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /** By build. */
  readonly #writers = new Map<number, Writer>();
  #stored = 0;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  /** Of a database on this machine. */
  #databaseFolder: string | undefined;

  constructor(
    private readonly db: Database,
    private readonly leases: Leases,
    private readonly config: MasterConfig,
    private readonly disk: DataDisk,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    this.#databaseFolder = await this.#findDatabase();
    this.#timer = setInterval(() => this.#lookSoon(), LOOK_MS);
    this.#timer.unref();
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  /** These are committed. */
  wrote(batch: readonly Pending[]): void {
    for (const item of batch) {
      const { build } = item.record;
      const bytes = (this.#writers.get(build)?.bytes ?? 0) + item.bytes;
      this.#writers.set(build, { item, bytes });
      this.#stored += item.bytes;
    }
    if (this.#stored >= LOOK_BYTES) this.#lookSoon();
  }

  /** One look; ends one build at the most. */
  async look(): Promise<void> {
    this.#stored = 0;
    const free = await this.#free();
    if (free < this.config.minFreeBytes) await this.#endBiggest(free);
    for (const [build, writer] of this.#writers) {
      writer.bytes *= FADE;
      if (writer.bytes < 1024) this.#writers.delete(build);
    }
  }

  #lookSoon(): void {
    this.#looking ??= this.look()
      .catch((err: unknown) => {
        if (!isOutage(err)) log.error({ err }, 'cannot look after the disk of the logs');
      })
      .finally(() => (this.#looking = undefined));
  }

  async #endBiggest(free: number): Promise<void> {
    let biggest: Writer | undefined;
    for (const writer of this.#writers.values())
      if (writer.bytes > (biggest?.bytes ?? LEAST_BYTES)) biggest = writer;
    if (!biggest) return;
    const { source, record } = biggest.item;
    const { build, epoch } = record;
    const reason = reasonOf(
      'storage-full',
      `the disk of the master has ${inMiB(free)} free, ${inMiB(this.config.minFreeBytes)} are to stay free ` +
        `(IMPGEM_MASTER_MIN_FREE), and of all builds this one wrote the most lately`,
    );
    const ended = await this.db.transaction((tx) => this.leases.end(tx, { build, epoch }, reason));
    this.#writers.delete(build);
    if (!ended) return;
    endedForRoom.inc();
    log.warn({ build, epoch, worker: source.worker.name, free }, 'ended a build to keep disk free');
    source.outcome({ type: 'taken', build, epoch, reason });
  }

  /** Of the disks that logs and rows end up on, as far as they can be seen, the least. */
  async #free(): Promise<number> {
    const { freeBytes } = await this.disk.look();
    if (this.#databaseFolder === undefined) return freeBytes;
    const { bavail, bsize } = await statfs(this.#databaseFolder);
    return Math.min(freeBytes, bavail * bsize);
  }

  /** Undefined for one on another machine, or one that does not show where it lies. */
  async #findDatabase(): Promise<string | undefined> {
    const { databaseUrl } = this.config;
    if (databaseUrl === undefined || !isHere(databaseUrl)) return undefined;
    try {
      const [row] = await this.db.query<{ folder: string }>(
        `SELECT current_setting('data_directory') AS folder`,
      );
      if (!row) return undefined;
      await statfs(row.folder);
      return row.folder;
    } catch {
      log.info('the disk of the database cannot be seen from here; look after it by other means');
      return undefined;
    }
  }
}

function isHere(databaseUrl: string): boolean {
  const host = URL.canParse(databaseUrl) ? new URL(databaseUrl).hostname : '';
  return ['', 'localhost', '127.0.0.1', '[::1]'].includes(host);
}

const endedForRoom = new Counter({
  name: 'impgem_builds_ended_for_room_total',
  help: 'Builds that were ended since the disk of the logs was low and they wrote the most',
});
