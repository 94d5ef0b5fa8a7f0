#!/usr/bin/env node
// Runs the tests of the project in the current folder, or of all at the root, of one kind:
//   node ../../tools/jest.mjs [--kind KIND] [jest arguments]
// The kind is told from the file name: x.test.ts is a unit test (no I/O), x.db.test.ts needs Postgres,
// x.docker.test.ts a Docker Engine, x.sim.test.ts the built simulation, and the built programs are taken by
// x.e2e.test.ts, x.chaos.test.ts, x.browser.test.ts (with Chromium) and x.compose.test.ts (with docker-compose). With
// IMPGEM_TEST_RESULTS, the results are also written into that folder, as JSON, for whoever counts them.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { patience } from './patience.mjs';

const args = process.argv.slice(2);
const at = args.indexOf('--kind');
const kind = at < 0 ? 'unit' : args.splice(at, 2)[1];
const jest = createRequire(import.meta.url).resolve('jest/bin/jest');
const config = fileURLToPath(new URL('../jest.config.mjs', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
// at the root: all projects, and not what farms and engines keep in .impgem
const roots = process.cwd() === resolve(root) ? ['apps', 'libs', 'e2e', 'bench'] : ['.'];
const results = process.env.IMPGEM_TEST_RESULTS;
const file = `${process.cwd().replaceAll('/', '_')}-${kind}-${process.pid}.json`;
// a short look where the runner has not measured already
await patience(0.2);
const run = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    jest,
    // takes all words up to the next option
    '--roots',
    ...roots.map((folder) => resolve(folder)),
    '--config',
    config,
    '--rootDir',
    process.cwd(),
    ...(results ? ['--json', `--outputFile=${join(results, file)}`] : []),
    ...args,
  ],
  {
    // with --json Jest prints the results on stdout too; people read stderr
    stdio: ['inherit', results ? 'ignore' : 'inherit', 'inherit'],
    env: { ...process.env, IMPGEM_TEST_KIND: kind },
  },
);
process.exit(run.status ?? 1);
