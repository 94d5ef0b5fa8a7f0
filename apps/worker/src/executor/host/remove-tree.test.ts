import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeTree } from './remove-tree.js';

const NOBODY = 65534;
const asRoot = process.getuid?.() === 0;
let top = '';
let folder = '';

beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'impgem-tree-'));
  folder = join(top, 'workspace');
  mkdirSync(folder);
});
afterEach(() => {
  process.seteuid?.(process.getuid?.() ?? 0);
  chmodSync(top, 0o700);
  rmSync(top, { recursive: true, force: true });
});

/** Rights of root pass over every mode: the tree and the removal are another user's then. */
function asAnotherUser(): void {
  if (!asRoot) return;
  execFileSync('chown', ['-Rh', `${NOBODY}:${NOBODY}`, top]);
  process.seteuid?.(NOBODY);
}

const sh = (script: string): void => void execFileSync('sh', ['-ec', script], { cwd: folder });

describe('the removal of a workspace', () => {
  it.each([
    [
      'a folder that must not be written to',
      'mkdir -p mod/x; echo hi > mod/x/f; chmod -R 0555 mod',
    ],
    ['a folder that must not be read', 'mkdir -p a/b; echo hi > a/b/f; chmod 000 a/b; chmod 000 a'],
    ['a folder that must not be entered', 'mkdir -p a/b; echo hi > a/b/f; chmod 0666 a/b a'],
    ['itself without any rights', 'mkdir a; echo x > a/b; chmod 000 .'],
    ['a set-uid folder', 'mkdir a; echo x > a/b; chmod 7000 a'],
    ['files without rights', 'echo x > f; chmod 000 f; mkfifo p; chmod 000 p'],
    [
      'names that are no UTF-8',
      String.raw`mkdir "$(printf 'a\377\376')"; cd "$(printf 'a\377\376')"; echo x > "$(printf '\200')"`,
    ],
    ['names that look like its own', 'mkdir -p .impgem-000000000000-0/x; echo x > .impgem-0'],
    [
      'many folders side by side',
      'mkdir -p $(seq -f "%g/a/b" 1 60); for i in $(seq 1 60); do echo x > $i/a/f; done',
    ],
  ])('takes %s', async (_, script) => {
    sh(script);
    asAnotherUser();
    expect(await removeTree(folder)).toBeUndefined();
    expect(readdirSync(top)).toEqual([]);
  });

  it.each([
    ['with long names', 20, 240],
    ['with more levels than most processes have descriptors', 1100, 5],
  ])('takes a path beyond what the system takes in one piece, %s', async (_, levels, length) => {
    const deep = `const { mkdirSync, writeFileSync, chmodSync } = require('node:fs');
      for (let level = 0; level < ${levels}; level++) {
        mkdirSync('d'.repeat(${length}));
        process.chdir('d'.repeat(${length}));
      }
      writeFileSync('file', '');
      chmodSync('.', 0o555);`;
    execFileSync(process.execPath, ['-e', deep], { cwd: folder });
    asAnotherUser();
    expect(await removeTree(folder)).toBeUndefined();
    expect(readdirSync(top)).toEqual([]);
  });

  it('follows no link, and changes nothing outside', async () => {
    const outside = join(top, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'kept'), 'kept');
    chmodSync(outside, 0o500);
    mkdirSync(join(folder, 'a'));
    for (const at of ['link', 'a/link']) symlinkSync(outside, join(folder, at));
    symlinkSync(join(outside, 'kept'), join(folder, 'a/file'));
    symlinkSync('.', join(folder, 'loop'));
    chmodSync(join(folder, 'a'), 0o500);
    asAnotherUser();
    expect(await removeTree(folder)).toBeUndefined();
    expect(statSync(outside).mode & 0o777).toBe(0o500);
    expect(readFileSync(join(outside, 'kept'), 'utf8')).toBe('kept');
  });

  it('takes what it can, counts what stays, and says why', async () => {
    if (!asRoot) return;
    sh('mkdir -p theirs/a mine/b; echo x > theirs/a/f; echo x > theirs/g; echo x > mine/b/f');
    asAnotherUser();
    process.seteuid?.(0);
    chownSync(join(folder, 'theirs/a'), 0, 0);
    process.seteuid?.(NOBODY);
    expect(await removeTree(folder)).toEqual({
      count: 1,
      why: expect.stringMatching(/EACCES|EPERM/),
    });
    expect(execFileSync('find', [folder, '-type', 'f'], { encoding: 'utf8' })).toMatch(/\/f\n$/);
    process.seteuid?.(0);
    expect(await removeTree(folder)).toBeUndefined();
  });

  it('does not enter what is mounted in it', async () => {
    if (!asRoot) return;
    const outside = join(top, 'outside');
    for (const path of [outside, join(folder, 'a'), join(folder, 'a/mount'), join(folder, 'mount')])
      mkdirSync(path);
    writeFileSync(join(outside, 'kept'), 'kept');
    const places = ['a/mount', 'mount'].map((at) => join(folder, at));
    try {
      for (const place of places) execFileSync('mount', ['--bind', outside, place]);
      expect(await removeTree(folder)).toMatchObject({ count: 2 });
      expect(existsSync(join(outside, 'kept'))).toBe(true);
    } finally {
      for (const place of [
        ...places,
        ...readdirSync(folder).map((at) => join(folder, at, 'mount')),
      ])
        try {
          execFileSync('umount', [place], { stdio: 'ignore' });
        } catch {
          // Moved, or not mounted.
        }
    }
    expect(await removeTree(folder)).toBeUndefined();
    expect(existsSync(join(outside, 'kept'))).toBe(true);
  });

  it('is over at once when there is nothing', async () => {
    expect(await removeTree(join(top, 'nothing'))).toBeUndefined();
  });
});
