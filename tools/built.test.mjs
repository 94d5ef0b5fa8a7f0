import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Built } from './built.mjs';

const APPS = ['master', 'worker', 'cli', 'web'];
const SOURCES = [
  'libs/kit/src/index.ts',
  'tools/rolldown.mjs',
  'package-lock.json',
  'tsconfig.base.json',
  'nx.json',
  ...APPS.map((app) => `apps/${app}/src/main.ts`),
];

let root;
let built;
const write = (path) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), '');
};
const make = () => {
  for (const app of ['master', 'worker', 'cli']) write(`apps/${app}/bundle/main.js`);
  write('apps/web/dist/index.html');
  write('libs/kit/dist/index.js');
};
const touch = (path, inMs) => {
  const at = new Date(Date.now() + inMs);
  utimesSync(join(root, path), at, at);
};
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'impgem-built-'));
  built = new Built(root);
  for (const path of SOURCES) write(path);
  // long ago
  for (const path of [...SOURCES, ...SOURCES.map(dirname)]) touch(path, -60_000);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('a program', () => {
  it('is built when it never was, and not again while nothing changes', async () => {
    assert.deepEqual(built.stale(), APPS);
    await built.by(APPS, make);
    assert.deepEqual(built.stale(), []);
    assert.deepEqual(new Built(root).stale(['cli']), []);
  });

  it('is built when its own sources change, or what all share', async () => {
    await built.by(APPS, make);
    touch('apps/worker/src/main.ts', 60_000);
    assert.deepEqual(built.stale(), ['worker']);
    assert.deepEqual(built.stale(['master', 'cli']), []);
    touch('libs/kit/src/index.ts', 60_000);
    assert.deepEqual(built.stale(), APPS);
  });

  it('is built when a source is added, moved or removed', async () => {
    await built.by(APPS, make);
    // what a removed file leaves is a folder that has changed
    touch('apps/cli/src', 60_000);
    assert.deepEqual(built.stale(), ['cli']);
  });

  it('is built again when a build failed, a source changed during it, or its files are gone', async () => {
    await assert.rejects(built.by(APPS, () => Promise.reject(new Error('no'))));
    assert.deepEqual(built.stale(), APPS);
    await built.by(APPS, () => {
      make();
      touch('apps/master/src/main.ts', 1_000);
    });
    assert.deepEqual(built.stale(), ['master']);
    rmSync(join(root, 'apps/web/dist'), { recursive: true });
    assert.deepEqual(built.stale(), ['master', 'web']);
  });
});
