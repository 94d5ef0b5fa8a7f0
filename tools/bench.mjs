#!/usr/bin/env node
// `npm run bench -- NAME… [--json] [--small]`: sets up what is missing, then runs bench/src/main.ts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { findEngine } from './engine.mjs';
import { ensureImage } from './images.mjs';
import { SetupError, root, say } from './process.mjs';
import { build, compile, install } from './setup.mjs';

const args = process.argv.slice(2);
try {
  await install();
  await build();
  await compile();
  const { imagesFor } = await import(join(root, 'bench/dist/needs.js'));
  const images = imagesFor(args);
  const engine = images.length > 0 ? await findEngine(join(root, '.impgem')) : undefined;
  try {
    for (const image of images) await ensureImage(engine.host, image);
    const env = engine ? { ...process.env, DOCKER_HOST: engine.host } : process.env;
    const main = join(root, 'bench/dist/main.js');
    const bench = spawn(process.execPath, [main, ...args], { stdio: 'inherit', env });
    // It takes away what it has started, and the engine is needed for that.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
      process.on(signal, () => bench.kill(signal));
    const [code] = await once(bench, 'exit');
    process.exitCode = code ?? 1;
  } finally {
    await engine?.stop();
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
