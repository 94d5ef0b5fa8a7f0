// docs/security-tests.md names tests by file and title: both must exist.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './process.mjs';

const page = readFileSync(join(root, 'docs/security-tests.md'), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => /^\| [CHMLT]\d/.test(line))
  .map((line) => line.split(' | ').map((cell) => cell.replace(/^\|\s*|\s*\|$/g, '').trim()));

test('each row of docs/security-tests.md names a test that exists, or a reason', () => {
  for (const [number, kind, named] of rows) {
    assert.ok(kind, `${number}: the kind is missing`);
    assert.ok(named, `${number}: the test or the reason is missing`);
    const match = /^`([^`]+\.test\.(?:ts|tsx|mjs))`: (.+)$/.exec(named);
    if (!match) continue;
    const [, file, title] = match;
    assert.ok(existsSync(join(root, file)), `${number}: there is no ${file}`);
    const text = readFileSync(join(root, file), 'utf8').replaceAll("\\'", "'");
    assert.ok(text.includes(title), `${number}: ${file} has no test "${title}"`);
  }
});
