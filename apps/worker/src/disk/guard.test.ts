import { describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import type { Attempt, WorkspaceUse } from '../executor/index.js';
import { DiskGuard, mostGrown } from './guard.js';

const MIB = 1024 ** 2;
const use = (build: number, mib: number): WorkspaceUse => ({
  attempt: { build, epoch: 1 },
  bytes: mib * MIB,
});

describe('what fills a disk', () => {
  it('is the build that grew most, not the biggest', () => {
    const before = new Map([['1-1', 900 * MIB]]);
    expect(mostGrown([use(1, 1000), use(2, 300)], before)).toEqual({
      attempt: { build: 2, epoch: 1 },
      grown: 300 * MIB,
    });
  });

  it('is no build that grew a little', () => {
    expect(mostGrown([use(1, 1000)], new Map([['1-1', 990 * MIB]]))).toBeUndefined();
    expect(mostGrown([])).toBeUndefined();
  });

  it('is ended below the floor, one at a time, and measured only when there is need', async () => {
    let free = 5000;
    let sizes = [use(1, 900), use(2, 0)];
    let measured = 0;
    const ended: [Attempt, string][] = [];
    const guard = new DiskGuard({
      measure: async () => ({ folder: '/disk', device: 1, bytes: free * MIB, inodes: 1000 }),
      watermark: { bytes: 2000 * MIB, inodes: 0 },
      floor: { bytes: 500 * MIB, inodes: 0 },
      usage: async () => {
        measured++;
        return sizes;
      },
      end: async (attempt, message) => {
        ended.push([attempt, message]);
        sizes = sizes.filter((one) => one.attempt.build !== attempt.build);
      },
      log: pino({ level: 'silent' }),
    });
    await guard.look();
    expect(measured).toBe(0);
    free = 1500;
    await guard.look();
    await guard.look();
    expect([measured, ended.length]).toEqual([1, 0]);
    free = 400;
    sizes = [use(1, 910), use(2, 700)];
    await Promise.all([guard.look(), guard.look()]);
    expect(ended).toEqual([
      [{ build: 2, epoch: 1 }, expect.stringMatching(/\/disk had 400 MiB left.*by 700 MiB/)],
    ]);
    await guard.look();
    expect(ended).toHaveLength(1);
    free = 5000;
    await guard.look();
    free = 400;
    await guard.look();
    expect(ended.at(-1)?.[0]).toEqual({ build: 1, epoch: 1 });
  });
});
