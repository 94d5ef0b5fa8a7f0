import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { PATIENCE, measurePatience, patience } from './patience.mjs';
import { root } from './process.mjs';

const before = process.env[PATIENCE];
beforeEach(() => delete process.env[PATIENCE]);
afterEach(() => {
  delete process.env[PATIENCE];
  if (before !== undefined) process.env[PATIENCE] = before;
});

test('a machine is measured when nobody has said how slow it is, once, and passed on', async () => {
  assert.ok((await measurePatience(0.02)) >= 1);
  const measured = await patience(0.02);
  assert.equal(process.env[PATIENCE], String(measured));
  process.env[PATIENCE] = '7.5';
  assert.equal(await patience(), 7.5);
});

const files = ['apps', 'libs', 'e2e', 'bench']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)),
  )
  .filter((path) => /\.test\.tsx?$/.test(path) && !/node_modules|\/dist\//.test(path));

/** What a limit of a single test looks like, and what waits for so long and no longer. */
const LIMITS = [
  [
    /^\s*\}, [\d_]{4,}\);$/m,
    'a limit of its own (third argument); jest.config.mjs has one for all',
  ],
  [/^\s+\},\n\s+[\d_]{4,},\n\s*\);$/m, 'a limit of its own (third argument)'],
  [/jest\.setTimeout\(/, 'jest.setTimeout; jest.config.mjs has one limit for all'],
  [/AbortSignal\.timeout\(\d/, 'AbortSignal.timeout without patient(…) of libs/testkit'],
  [/[sS]etTimeout\(\w+, [\d_]{6,}\)/, 'a long wait without patient(…) of libs/testkit'],
];

test('no test has a limit of its own that does not scale with the machine', () => {
  const found = files.flatMap((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return LIMITS.filter(([pattern]) => pattern.test(text)).map(([, why]) => `${path}: ${why}`);
  });
  assert.deepEqual(found, []);
});
