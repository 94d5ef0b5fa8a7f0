#!/usr/bin/env node
// Writes libs/client/openapi.json from the compiled master's routes, and libs/client/src/schema.ts from that. Needs
// no database.
//   node tools/openapi.mjs [--check]     --check: compare only, exit 1 when they differ
import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import { openApi } from '../apps/master/dist/openapi.js';

const check = process.argv.includes('--check');
const client = fileURLToPath(new URL('../libs/client/', import.meta.url));
const file = join(client, 'openapi.json');
const text = await format(JSON.stringify(await openApi()), { parser: 'json', printWidth: 100 });
const before = await readFile(file, 'utf8').catch(() => '');
if (check && text !== before) {
  console.error('libs/client/openapi.json is not what the master says: run node tools/openapi.mjs');
  process.exit(1);
}
if (text !== before) await writeFile(file, text);

// Its own TypeScript stands beside it, since it needs the compiler's API, which ours has not.
const manifest = createRequire(file).resolve('openapi-typescript/package.json');
const types = spawnSync(
  process.execPath,
  [
    join(dirname(manifest), 'bin/cli.js'),
    'openapi.json',
    '-o',
    'src/schema.ts',
    ...(check ? ['--check'] : []),
  ],
  { cwd: client, encoding: 'utf8' },
);
if (types.status !== 0) console.error(`libs/client/src/schema.ts: ${types.stderr || types.stdout}`);
process.exit(types.status ?? 1);
