#!/usr/bin/env node
// `npm run chaos -- [--rounds N] [--seed S] [--only KIND] [--small] [--long] [--write | --add]`: sets up what is
// missing, then runs e2e/src/chaos/main.ts.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SetupError, isRoot, onPath, root, say } from './process.mjs';
import { build, compile, install } from './setup.mjs';

try {
  const needed = ['git', ...(isRoot() ? ['dockerd', 'ip', 'iptables', 'nsenter'] : [])];
  const missing = needed.filter((program) => !onPath(program));
  if (missing.length) throw new SetupError(`chaos needs ${missing.join(', ')}: install them first`);
  if (!isRoot())
    say('Not root: no engine of our own to kill and no network to part; these kinds are left out.');
  await install();
  await build();
  await compile();
  // in this process: it hears the signals, and cleans up
  await import(pathToFileURL(join(root, 'e2e/dist/chaos/main.js')).href);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
