import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { CLOSE, MASTER_MESSAGES, WORKER_MESSAGES } from '../libs/protocol/dist/index.js';

// The same copy that the classes are registered with.
const { getMetadataStorage } = createRequire(
  new URL('../libs/protocol/dist/index.js', import.meta.url),
)('class-validator');
const page = readFileSync(new URL('../libs/protocol/PROTOCOL.md', import.meta.url), 'utf8');

/** The cells of each row of the tables. */
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

/** Names of the fields of a message, `ref` for build and epoch. */
function fieldsOf(shape) {
  const all = getMetadataStorage().getTargetValidationMetadatas(shape, '', false, false);
  const names = new Set(all.map(({ propertyName }) => propertyName));
  const ref = names.delete('build') && names.delete('epoch');
  return [...(ref ? ['ref'] : []), ...names].sort();
}

const toldOf = (cell) =>
  [...cell.matchAll(/[\w.]+/g)].map(([name]) => name.replaceAll('_', '')).sort();

for (const [direction, messages] of Object.entries({ WORKER_MESSAGES, MASTER_MESSAGES })) {
  for (const [type, shape] of Object.entries({ ...messages })) {
    test(`PROTOCOL.md tells ${type} of ${direction} with its fields`, () => {
      const row = rows.find(([name]) => name === `\`${type}\``);
      assert.ok(row, `no row of ${type}`);
      assert.deepEqual(toldOf(row[1]), fieldsOf(shape));
    });
  }
}

test('PROTOCOL.md tells every close code', () => {
  const told = rows.flatMap(([name]) => /^`(\d{4})`$/.exec(name)?.[1] ?? []);
  assert.deepEqual(told.sort(), Object.values(CLOSE).map(String).sort());
});
