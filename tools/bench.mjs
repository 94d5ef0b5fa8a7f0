#!/usr/bin/env node
// `npm run bench -- [NAME…] [--json] [--write]`: sets up what is missing, then runs bench/src/main.ts.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { findEngine } from './engine.mjs';
import { QUICK_START_IMAGE, ensureImage } from './images.mjs';
import { SetupError, root, say } from './process.mjs';
import { build, install } from './setup.mjs';

const args = process.argv.slice(2);
const names = args.filter((arg) => !arg.startsWith('-'));
const withDocker = names.length === 0 || names.includes('container');
try {
  await install();
  await build();
  const engine = withDocker ? await findEngine(join(root, '.impgem')) : undefined;
  try {
    if (engine) await ensureImage(engine.host, QUICK_START_IMAGE);
    const env = engine ? { ...process.env, DOCKER_HOST: engine.host } : process.env;
    const main = join(root, 'bench/dist/main.js');
    process.exitCode =
      spawnSync(process.execPath, [main, ...args], { stdio: 'inherit', env }).status ?? 1;
  } finally {
    await engine?.stop();
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
