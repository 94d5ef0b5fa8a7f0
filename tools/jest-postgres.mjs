// Jest's global setup for tests that need PostgreSQL: one embedded server for the run, in a temporary folder,
// with a migrated template database that `testDatabase()` of libs/testkit copies. Uses the compiled master;
// compiles it first when its sources are newer.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const master = path.join(root, 'apps/master');
const compiled = path.join(master, 'dist/platform/database');
const sources = path.join(master, 'src/platform');

function newest(folder, ending) {
  if (!existsSync(folder)) return 0;
  return Math.max(
    0,
    ...readdirSync(folder, { recursive: true })
      .filter((name) => name.endsWith(ending) && !name.includes('.test.'))
      .map((name) => statSync(path.join(folder, name)).mtimeMs),
  );
}

function compileWhenStale() {
  const files = ['embedded-postgres', 'migrate', 'data-source', 'migrations/index'];
  const made = files.map((file) => path.join(compiled, `${file}.js`));
  if (
    made.every((file) => existsSync(file)) &&
    newest(path.join(master, 'dist/platform'), '.js') >= newest(sources, '.ts')
  )
    return;
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
  // Type errors are the build's business: it emits nevertheless.
  spawnSync(process.execPath, [tsc, '-b', master], { cwd: root, stdio: 'ignore' });
}

const load = (file) => import(pathToFileURL(path.join(compiled, `${file}.js`)).href);

export default async function setup() {
  // A run inside a run (a test that starts Jest) uses what is there.
  if (process.env.IMPGEM_TEST_POSTGRES) return;
  compileWhenStale();
  const { startEmbeddedPostgres } = await load('embedded-postgres');
  const { migrationSource } = await load('data-source');
  const { migrate } = await load('migrate');
  // Its data live as long as the run: no need to wait for the disk.
  const folder = await mkdtemp(path.join(tmpdir(), 'impgem-test-postgres-'));
  const server = await startEmbeddedPostgres({
    folder,
    settings: { max_connections: '300', fsync: 'off' },
  });
  const template = new URL(server.url);
  template.pathname = '/impgem_template';
  const admin = migrationSource(server.url);
  await admin.initialize();
  await admin.query('CREATE DATABASE impgem_template');
  await admin.destroy();
  const source = migrationSource(template.href);
  await source.initialize();
  await migrate(source);
  await source.destroy();
  process.env.IMPGEM_TEST_POSTGRES = server.url;
  // A run that is broken off has no teardown.
  const now = () => {
    server.stopNow();
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  };
  process.once('exit', now);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
  globalThis.impgemTestPostgres = async () => {
    process.off('exit', now);
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
