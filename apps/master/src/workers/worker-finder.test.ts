import { describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import type { Database } from '../platform/index.js';
import { WorkerFinder } from './worker-finder.js';

const row = (id: string) => ({ id, name: `w-${id}`, secret_hash: Buffer.from(id), revoked: false });

describe('looking for workers', () => {
  it('takes those that come while one look runs together, and tells each its own', async () => {
    const asked: string[][] = [];
    const first = deferred();
    const db = {
      async query(_sql: string, [ids]: [string[]]) {
        asked.push(ids);
        if (asked.length === 1) await first.promise;
        return ids.filter((id) => id !== 'none').map(row);
      },
    };
    const finder = new WorkerFinder(db as unknown as Database);
    const found = ['a', 'b', 'none', 'b'].map((id) => finder.find(id));
    first.resolve();
    expect((await Promise.all(found)).map((worker) => worker?.name)).toEqual([
      'w-a',
      'w-b',
      undefined,
      'w-b',
    ]);
    expect(asked).toEqual([['a'], ['b', 'none', 'b']]);
  });

  it('fails for those who were looked for, and goes on', async () => {
    let fails = true;
    const db = {
      async query(_sql: string, [ids]: [string[]]) {
        if (fails) throw new Error('away');
        return ids.map(row);
      },
    };
    const finder = new WorkerFinder(db as unknown as Database);
    await expect(finder.find('a')).rejects.toThrow('away');
    fails = false;
    expect(await finder.find('a')).toMatchObject({ name: 'w-a' });
  });
});
