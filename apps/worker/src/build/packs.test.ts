import { describe, expect, it } from '@jest/globals';
import { PACK_FILES } from '@impgem/protocol';
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import type { ReadFile } from '../executor/executor.js';
import { packsOf, type NumberedFile, type Pack } from './packs.js';

const content = (n: number, size: number) => Buffer.alloc(size, String(n));
const numbered = (count: number, size: number, name = (n: number) => `f${n}`): NumberedFile[] =>
  Array.from({ length: count }, (_, n) => ({
    path: name(n),
    type: 'file',
    size,
    mode: 0o100_644 % 0o10000,
    number: n + 7,
  }));

async function packsFor(files: NumberedFile[], broken?: string) {
  async function* reads(): AsyncGenerator<ReadFile> {
    // In another order than they are numbered in.
    for (const file of files.toReversed()) {
      if (file.path === broken) yield { file, error: new Error('gone') };
      else yield { file, bytes: content(file.number, file.size) };
    }
  }
  const failed: string[] = [];
  const packs: Pack[] = [];
  for await (const pack of packsOf(files, reads(), (path) => failed.push(path))) packs.push(pack);
  return { packs, failed };
}

describe('packs', () => {
  it('hold each file once, under its number, with its bytes and their SHA-256', async () => {
    const files = numbered(600, 2048);
    const { packs } = await packsFor(files);
    expect(packs.map((pack) => pack.files.length)).toEqual([512, 88]);
    const seen = new Map<string, number>();
    for (const { files: packed, whole } of packs) {
      const bytes = await buffer(await whole.open());
      expect([bytes.length, whole.path]).toEqual([whole.size, packed[0]?.path]);
      let at = 0;
      for (const { path, size, sha256, artifact } of packed) {
        const own = bytes.subarray(at, (at += size));
        expect(createHash('sha256').update(own).digest('hex')).toBe(sha256);
        expect(own.equals(content(artifact, size))).toBe(true);
        seen.set(path, artifact);
      }
    }
    expect(seen).toEqual(new Map(files.map(({ path, number }) => [path, number])));
  });

  it('are bounded in files and in bytes of names', async () => {
    const empty = await packsFor(numbered(PACK_FILES + 1, 0));
    expect(empty.packs.map((pack) => pack.files.length)).toEqual([PACK_FILES, 1]);
    const long = await packsFor(numbered(900, 1, (n) => `${n}/${'x'.repeat(990)}`));
    for (const { files } of long.packs)
      expect(JSON.stringify(files).length).toBeLessThan(1024 * 1024);
    expect(long.packs.length).toBeGreaterThan(1);
  });

  it('leave out what cannot be read, and tell it', async () => {
    const { packs, failed } = await packsFor(numbered(3, 5), 'f1');
    expect(failed).toEqual(['f1']);
    expect(packs.flatMap(({ files }) => files.map(({ path }) => path))).toEqual(['f2', 'f0']);
  });

  it('give each of their files alone', async () => {
    const { packs } = await packsFor(numbered(3, 5));
    const alone = packs[0]?.each() ?? [];
    const bytes = await Promise.all(alone.map(async ({ file }) => buffer(await file.open())));
    expect(bytes).toEqual(alone.map(({ number }) => content(number, 5)));
  });
});
