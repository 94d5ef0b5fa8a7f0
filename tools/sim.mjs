#!/usr/bin/env node
// `npm run sim -- --seeds N [--seed S]`: sets up what is missing, then runs e2e/src/sim/main.ts.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { SetupError, root, say } from './process.mjs';
import { compile, install } from './setup.mjs';

try {
  await install();
  await compile();
  const main = join(root, 'e2e/dist/sim/main.js');
  const args = process.argv.slice(2);
  process.exitCode = spawnSync(process.execPath, [main, ...args], { stdio: 'inherit' }).status ?? 1;
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
