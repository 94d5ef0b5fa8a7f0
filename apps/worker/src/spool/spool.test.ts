import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Assign, BuildEvent } from '@impgem/protocol';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Budget } from './budget.js';
import { Spool } from './spool.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-spool-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const spool = (boot?: string): Spool => new Spool(folder, new Budget(1024 ** 2), boot);

/** Leaves two builds behind: 1 has ended, 2 has not. */
async function leave(boot?: string): Promise<void> {
  const before = spool(boot);
  const events: BuildEvent[] = [{ kind: 'build.started' }];
  for (const build of [1, 2]) {
    const journal = await before.create({ type: 'assign', build, epoch: 1 } as Assign, 0, 0);
    if (build === 1) events.push({ kind: 'build.finished', result: 'success' });
    for (const event of events.splice(0)) await journal.append({ kind: 'event', atMs: 0, event });
    await journal.close();
    events.push({ kind: 'build.started' });
  }
}

const recovered = async (boot?: string): Promise<number[]> => {
  const found = await spool(boot).recover();
  return found.map(({ journal }) => journal.attempt.build).sort();
};

describe('Spool', () => {
  it('finds all that another process has left', async () => {
    await leave();
    expect(await recovered()).toEqual([1, 2]);
  });

  it('gives up what had not ended when the machine was started anew', async () => {
    await leave('before');
    expect(await recovered('after')).toEqual([1]);
    expect(await readdir(folder)).toEqual(['1-1']);
  });
});
