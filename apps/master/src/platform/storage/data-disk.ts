import { statfs } from 'node:fs/promises';
import { Injectable } from '@nestjs/common';
import { FarmError, inMiB } from '@impgem/kit';
import { Gauge, register } from 'prom-client';
import { MasterConfig } from '../config.js';

/** What is left where the data folder lies. */
export interface DiskState {
  freeBytes: number;
  /** Absent when the file system does not count them. */
  freeInodes?: number;
  /** Less is free than is kept for the database. */
  low: boolean;
}

/** Inodes that artifacts leave for the database. */
const LEAST_INODES = 1000;
/** A disk with so little has no room for a segment of PostgreSQL's log. */
const FULL_BYTES = 32 * 1024 ** 2;

const METRICS = {
  bytes: 'impgem_storage_free_bytes',
  inodes: 'impgem_storage_free_inodes',
  low: 'impgem_storage_low',
} as const;

/**
 * The disk of the data folder. Some of it is kept free, for the database that lies there by default: artifacts are
 * refused before they would use that up, and nothing is half written.
 */
@Injectable()
export class DataDisk {
  constructor(private readonly config: MasterConfig) {}

  async look(): Promise<DiskState> {
    const { bavail, bsize, files, ffree } = await statfs(this.config.dataDir);
    const freeBytes = bavail * bsize;
    return {
      freeBytes,
      ...(files === 0 ? {} : { freeInodes: ffree }),
      low: freeBytes < this.config.minFreeBytes || (files > 0 && ffree < LEAST_INODES),
    };
  }

  /** Rejects with `storage-full` when so many bytes more would leave too little. */
  async makeSure(bytes: number): Promise<void> {
    const { freeBytes, freeInodes } = await this.look();
    if (freeInodes !== undefined && freeInodes < LEAST_INODES)
      throw new FarmError(
        'storage-full',
        `the master's disk has ${freeInodes} inodes left, ${LEAST_INODES} are kept for its database`,
      );
    if (freeBytes - bytes >= this.config.minFreeBytes) return;
    throw new FarmError(
      'storage-full',
      `the master has no room for it: ${inMiB(freeBytes)} of its disk are free, ` +
        `${inMiB(this.config.minFreeBytes)} are kept for its database (IMPGEM_MASTER_MIN_FREE)`,
    );
  }

  /** What is wrong with the disk, for everybody to read: no path is told. */
  async problem(): Promise<string | undefined> {
    const { freeBytes, freeInodes, low } = await this.look();
    if (low && freeBytes < FULL_BYTES)
      return 'the disk of the data folder is full: make room there';
    if (freeInodes !== undefined && freeInodes < LEAST_INODES)
      return `the disk of the data folder has ${freeInodes} inodes left: remove files there`;
    if (!low) return undefined;
    return (
      `the disk of the data folder has ${inMiB(freeBytes)} free: no artifacts are taken until there are ` +
      `${inMiB(this.config.minFreeBytes)} (IMPGEM_MASTER_MIN_FREE)`
    );
  }

  /** Begins to show it in the metrics. */
  measure(): void {
    for (const name of Object.values(METRICS)) register.removeSingleMetric(name);
    const inodes = new Gauge({
      name: METRICS.inodes,
      help: 'Free inodes where the data folder lies',
    });
    const low = new Gauge({
      name: METRICS.low,
      help: '1 while too little is free for artifacts to be taken',
    });
    const bytes: Gauge = new Gauge({
      name: METRICS.bytes,
      help: 'Free bytes where the data folder lies',
      collect: async (): Promise<void> => {
        // One folder that cannot be asked must not hide all other metrics.
        const state = await this.look().catch(() => undefined);
        bytes.set(state?.freeBytes ?? Number.NaN);
        if (!state) return;
        low.set(state.low ? 1 : 0);
        if (state.freeInodes !== undefined) inodes.set(state.freeInodes);
      },
    });
  }
}
