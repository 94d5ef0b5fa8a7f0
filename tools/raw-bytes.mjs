#!/usr/bin/env node
// `npm run raw-bytes -- [--runs N] [--seed S]`: sets up what is missing, then runs e2e/src/hostile/raw-main.ts.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SetupError, root, say } from './process.mjs';
import { build, compile, install } from './setup.mjs';

try {
  await install();
  await build();
  await compile();
  await import(pathToFileURL(join(root, 'e2e/dist/hostile/raw-main.js')).href);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
