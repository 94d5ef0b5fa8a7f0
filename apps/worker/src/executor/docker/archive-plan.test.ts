import { describe, expect, it } from '@jest/globals';
import type { WorkspaceFile } from '../executor.js';
import { archivePlan, weigh } from './archive-plan.js';

const MIB = 1024 ** 2;
const file = (path: string, size = 2048): WorkspaceFile => ({
  path,
  type: 'file',
  size,
  mode: 0o644,
});
const many = (folder: string, count: number) =>
  Array.from({ length: count }, (_, n) => file(`${folder}${n}`));

/** The plan for the wanted files of a workspace that has others too. */
async function plan(wanted: WorkspaceFile[], others: WorkspaceFile[] = []) {
  const weights = new Map<string, number>();
  for (const one of [...wanted, ...others]) weigh(weights, one);
  const { folders, single } = await archivePlan(wanted, weights);
  return { folders, single: single.map(({ path }) => path) };
}

describe('the plan for reading many files', () => {
  it('weighs each folder with all that is below it, as an archive has it', () => {
    const weights = new Map<string, number>();
    weigh(weights, { path: 'a', type: 'directory', size: 4096, mode: 0o755 });
    weigh(weights, file('a/b/c', 513));
    expect(Object.fromEntries(weights)).toEqual({ '': 2048, a: 1536, 'a/b': 1536 });
  });

  it('takes the whole workspace when it holds little else', async () => {
    expect(await plan(many('small/', 100), [file('src/x', 5 * MIB)])).toEqual({
      folders: [''],
      single: [],
    });
  });

  it('takes the folders that are worth it, and the rest one by one', async () => {
    const wanted = [...many('out/a/', 50), ...many('out/b/c/', 50), file('top'), file('out/big/s')];
    const others = [
      file('src/tree', 9000 * MIB),
      file('out/x', 9000 * MIB),
      file('out/big/b', 900 * MIB),
    ];
    expect(await plan(wanted, others)).toEqual({
      folders: ['out/a', 'out/b'],
      single: ['top', 'out/big/s'],
    });
  });

  it('asks for each by itself when nothing is known of the folders', async () => {
    expect((await archivePlan([file('a/b')], new Map())).folders).toEqual([]);
    expect(await archivePlan([], new Map())).toEqual({ folders: [], single: [] });
  });

  it('looks only so deep, however deep the folders are', async () => {
    const deep = many('d/'.repeat(500), 2000);
    const weights = new Map<string, number>();
    for (const one of deep) weigh(weights, one);
    expect(weights.size).toBe(32);
    weigh(weights, file('x', 9000 * MIB));
    expect((await archivePlan(deep, weights)).folders).toEqual(['d']);
    const plan = await archivePlan(deep, new Map());
    expect(plan).toEqual({ folders: [], single: deep });
  });
});
