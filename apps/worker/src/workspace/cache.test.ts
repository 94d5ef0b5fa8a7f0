import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cache } from './cache.js';

const DAY_MS = 86_400_000;
const NOW = Date.parse('2026-11-30T12:00:00Z');
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'impgem-cache-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Named by one hexadecimal digit. */
function mirror(digit: string, daysAgo: number, bytes = 10, hasLock = true): void {
  const path = join(folder, digit.repeat(32));
  mkdirSync(`${path}.git/objects`, { recursive: true });
  writeFileSync(`${path}.git/objects/x`, Buffer.alloc(bytes));
  const used = new Date(NOW - daysAgo * DAY_MS);
  if (hasLock) writeFileSync(`${path}.lock`, '');
  utimesSync(hasLock ? `${path}.lock` : `${path}.git`, used, used);
}

const mirrors = (): string =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.git'))
    .map((name) => name[0])
    .join('');

/** Another process that holds a lock, until its input ends. */
async function holder(path: string): Promise<() => Promise<void>> {
  const child = spawn('sh', ['-c', 'exec 3>>"$0"; flock -x 3; echo held; read line', path]);
  await once(child.stdout, 'data');
  return async () => {
    child.stdin.end();
    await once(child, 'exit');
  };
}

describe('the folder of mirrors', () => {
  it('is rid of clones whose process is gone, and of no others', async () => {
    const cache = new Cache(folder);
    const mine = await cache.newClone();
    const done = await cache.newClone();
    const release = await holder(join(folder, 'process-0123abcd.lock'));
    for (const name of [
      'clone-0123abcd-XYZabc',
      'clone-89abcdef-XYZabc',
      'clone-old123',
      'gone-77',
    ])
      mkdirSync(join(folder, name, 'deep'), { recursive: true });
    writeFileSync(join(folder, 'process-89abcdef.lock'), '');
    mirror('a', 0);
    await cache.removeClone(done);
    expect(await cache.sweep()).toBe(3);
    expect(
      readdirSync(folder)
        .filter((name) => /^(clone|gone)-/.test(name))
        .toSorted(),
    ).toEqual([mine.slice(folder.length + 1), 'clone-0123abcd-XYZabc'].toSorted());
    await release();
    expect(await cache.sweep()).toBe(1);
    expect(existsSync(mine)).toBe(true);
    expect(existsSync(join(folder, 'process-0123abcd.lock'))).toBe(false);
    await cache.removeClone(mine);
  });

  it('keeps what was used last, by age, number and size', async () => {
    const all = { ageMs: 30 * DAY_MS, count: 10, bytes: 1000 };
    const cache = new Cache(folder);
    mirror('a', 40, 10, false);
    mirror('b', 3);
    mirror('c', 2, 500);
    mirror('d', 1);
    expect(await cache.trim(all, NOW)).toBe(1);
    expect(mirrors()).toBe('bcd');
    expect(await cache.trim({ ...all, count: 2 }, NOW)).toBe(1);
    expect(mirrors()).toBe('cd');
    mirror('b', 3);
    expect(await cache.trim({ ...all, bytes: 100 }, NOW)).toBe(1);
    expect(mirrors()).toBe('bd');
    mirror('e', 0, 5000);
    expect(await cache.trim({ ...all, bytes: 100 }, NOW)).toBe(2);
    expect(mirrors()).toBe('e');
  });

  it('gives up mirrors when the disk is low, longest unused first, none that is in use', async () => {
    const cache = new Cache(folder);
    mirror('a', 4);
    mirror('b', 3);
    mirror('c', 2);
    mirror('d', 1);
    const release = await holder(join(folder, `${'a'.repeat(32)}.lock`));
    expect(await cache.evict(async () => mirrors().length <= 2)).toBe(2);
    expect(mirrors()).toBe('ad');
    expect(await cache.trim({ ageMs: 1, count: 1, bytes: 0 }, NOW)).toBe(1);
    expect(mirrors()).toBe('a');
    await release();
    expect(await cache.evict(async () => false)).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
    expect(await new Cache(join(folder, 'none')).evict(async () => false)).toBe(0);
  });
});
