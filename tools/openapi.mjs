#!/usr/bin/env node
// Writes libs/client/openapi.json from the compiled master's routes. Needs no database.
//   node tools/openapi.mjs [--check]     --check: compare only, exit 1 when it differs
import { readFile, writeFile } from 'node:fs/promises';
import { format } from 'prettier';
import { openApi } from '../apps/master/dist/openapi.js';

const file = new URL('../libs/client/openapi.json', import.meta.url);
const text = await format(JSON.stringify(await openApi()), { parser: 'json', printWidth: 100 });
const before = await readFile(file, 'utf8').catch(() => '');
if (process.argv.includes('--check')) {
  if (text === before) process.exit(0);
  console.error('libs/client/openapi.json is not what the master says: run node tools/openapi.mjs');
  process.exit(1);
}
if (text !== before) await writeFile(file, text);
process.exit(0);
