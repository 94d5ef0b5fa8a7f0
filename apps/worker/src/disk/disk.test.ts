import { afterEach, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { Storage } from '../executor/index.js';
import { Disk, type DiskOrder } from './disk.js';
import type { Free } from './lowness.js';

const run = promisify(execFile);
const MiB = 1024 ** 2;
const log = pino({ level: 'silent' });

/** Disks whose free space is a number, and images that take some of it. */
function farm({ data = 1000, engine = 1000, oneDisk = false, inodes = 1_000_000 } = {}) {
  const free = { data, engine, inodes };
  const images = ['old', 'newer', 'newest'];
  const storage: Storage = {
    root: async () => '/engine',
    evict: async (enough) => {
      const gone: string[] = [];
      while (images.length > 0 && !(await enough())) {
        gone.push(images.shift() as string);
        free.engine += 100;
        if (oneDisk) free.data += 100;
      }
      return gone;
    },
  };
  const measure = async (folder: string): Promise<Free> => {
    const isEngine = folder === '/engine';
    return {
      folder,
      device: isEngine && !oneDisk ? 2 : 1,
      bytes: isEngine ? free.engine : free.data,
      inodes: isEngine ? undefined : free.inodes,
    };
  };
  const order: DiskOrder = {
    dataDir: '/data',
    storage,
    watermark: { bytes: 500, inodes: 100 },
    log,
    measure,
  };
  return { free, images, order, disk: new Disk(order) };
}

describe('Disk', () => {
  it('tells what is free, and nothing of what cannot be seen', async () => {
    const { disk, order } = farm();
    await disk.look();
    expect(disk.report).toEqual({
      diskFree: 1000,
      inodesFree: 1_000_000,
      engineDiskFree: 1000,
      evicted: 0,
    });
    const alone = new Disk({ ...order, storage: undefined });
    await alone.look();
    expect(alone.report).not.toHaveProperty('engineDiskFree');
  });

  it('gives up copies of repositories before images, and only for the disk where they lie', async () => {
    const { order, images, free } = farm({ engine: 349 });
    const asked: number[] = [];
    const cache = {
      evict: async (enough: () => Promise<boolean>) => {
        for (let n = 0; ; n += 1) {
          if (await enough()) return n;
          free.data += 300;
          asked.push(n);
        }
      },
    };
    await new Disk({ ...order, cache }).look();
    expect([asked, images]).toEqual([[], []]);
    free.data = 100;
    await new Disk({ ...order, cache }).look();
    expect(asked).toEqual([0, 1]);
  });

  it('makes room by images, no more than needed, and counts them', async () => {
    const { disk, images } = farm({ engine: 349 });
    await disk.look();
    // Above the watermark by some, so that the next layer does not bring it back at once.
    expect(images).toEqual([]);
    expect(disk.report).toMatchObject({ engineDiskFree: 649, evicted: 3 });
    expect(disk.report.lowDisk).toBeUndefined();
    const two = farm({ engine: 460 });
    await two.disk.look();
    expect(two.images).toEqual(['newer', 'newest']);
  });

  it('says which disk is low when no image helps, until there is clearly more room', async () => {
    const { disk, free, images } = farm({ data: 499 });
    await disk.look();
    expect(disk.report.lowDisk).toContain('/data has 0 MiB free');
    expect(disk.report.lowDisk).toContain('IMPGEM_WORKER_MIN_FREE');
    expect(images).toHaveLength(3);
    free.data = 549;
    await disk.look();
    expect(disk.report.lowDisk).toBeDefined();
    free.data = 551;
    await disk.look();
    expect(disk.report.lowDisk).toBeUndefined();
  });

  it('takes images away for the data folder when both lie on one disk', async () => {
    const { disk, images } = farm({ data: 400, engine: 400, oneDisk: true });
    await disk.look();
    expect(images).toEqual(['newest']);
    expect(disk.report.lowDisk).toBeUndefined();
  });

  it('minds inodes as well', async () => {
    const { disk } = farm({ inodes: 99 });
    await disk.look();
    expect(disk.report.lowDisk).toContain('/data has 99 inodes free, and wants 100');
  });
});

// Only root may mount.
const asRoot = process.getuid?.() === 0 ? describe : describe.skip;

asRoot('Disk on a file system of 16 MiB', () => {
  let mount: string;
  afterEach(async () => {
    await run('umount', [mount]);
    await rm(mount, { recursive: true });
  });

  it('becomes low with bytes and with inodes, and well again', async () => {
    mount = await mkdtemp(join(tmpdir(), 'impgem-disk-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=16m,nr_inodes=200', 'tmpfs', mount]);
    const watermark = { bytes: 4 * MiB, inodes: 50 };
    const disk = new Disk({ dataDir: mount, storage: undefined, watermark, log });
    await disk.look();
    expect(disk.report.lowDisk).toBeUndefined();
    expect(disk.report.diskFree).toBeGreaterThan(15 * MiB);
    await writeFile(join(mount, 'ballast'), Buffer.alloc(13 * MiB));
    await disk.look();
    expect(disk.report.lowDisk).toBe(
      `${mount} has 3 MiB free, and wants 4 MiB: make room there, or lower IMPGEM_WORKER_MIN_FREE`,
    );
    await rm(join(mount, 'ballast'));
    await disk.look();
    expect(disk.report.lowDisk).toBeUndefined();
    for (let n = 0; n < 160; n++) await mkdir(join(mount, String(n)));
    await disk.look();
    expect(disk.report.lowDisk).toContain('inodes free, and wants 50');
  });
});
