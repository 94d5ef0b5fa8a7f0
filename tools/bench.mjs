#!/usr/bin/env node
// `npm run bench -- NAME… [--json] [--small]`: sets up what is missing, then runs bench/src/main.ts.
import { join } from 'node:path';
import { findEngine } from './engine.mjs';
import { ensureImage } from './images.mjs';
import { SetupError, root, run, say, stopRunning } from './process.mjs';
import { build, compile, install } from './setup.mjs';

const args = process.argv.slice(2);
try {
  await install();
  await build();
  await compile();
  const { imagesFor } = await import(join(root, 'bench/dist/needs.js'));
  const images = imagesFor(args);
  const engine = images.length > 0 ? await findEngine(join(root, '.impgem-engine')) : undefined;
  try {
    for (const image of images) await ensureImage(engine.host, image);
    const env = engine ? { ...process.env, DOCKER_HOST: engine.host } : process.env;
    const main = join(root, 'bench/dist/main.js');
    // It takes away what it has started, and the engine is needed for that.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stopRunning);
    const { status } = await run(process.execPath, [main, ...args], { env, check: false });
    process.exitCode = status;
  } finally {
    await engine?.stop();
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
