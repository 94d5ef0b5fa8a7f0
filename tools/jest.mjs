#!/usr/bin/env node
// Runs the tests of the project in the current folder, of one kind:
//   node ../../tools/jest.mjs [--kind unit|db|docker|e2e] [jest arguments]
// The kind is told from the file name: x.test.ts is a unit test (no I/O), x.db.test.ts needs Postgres,
// x.docker.test.ts a Docker Engine, x.e2e.test.ts the built programs.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const args = process.argv.slice(2);
const at = args.indexOf('--kind');
const kind = at < 0 ? 'unit' : args.splice(at, 2)[1];
const jest = createRequire(import.meta.url).resolve('jest/bin/jest');
const config = fileURLToPath(new URL('../jest.config.mjs', import.meta.url));
const run = spawnSync(
  process.execPath,
  [
    '--experimental-vm-modules',
    '--no-warnings',
    jest,
    '--config',
    config,
    '--rootDir',
    process.cwd(),
    ...args,
  ],
  { stdio: 'inherit', env: { ...process.env, IMPGEM_TEST_KIND: kind } },
);
process.exit(run.status ?? 1);
