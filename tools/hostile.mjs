#!/usr/bin/env node
// `npm run hostile -- [--attack KIND]… [--seconds N] [--seed S]`: sets up what is missing, then runs
// e2e/src/hostile/main.ts.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findEngine } from './engine.mjs';
import { QUICK_START_IMAGE, ensureImage } from './images.mjs';
import { SetupError, root, say } from './process.mjs';
import { build, compile, install } from './setup.mjs';

let engine;
try {
  await install();
  await build();
  await compile();
  engine = await findEngine(join(root, '.impgem'));
  await ensureImage(engine.host, QUICK_START_IMAGE);
  process.env.DOCKER_HOST = engine.host;
  await import(pathToFileURL(join(root, 'e2e/dist/hostile/main.js')).href);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
} finally {
  await engine?.stop();
}
