#!/usr/bin/env node
// Writes apps/master/schema.sql: what the compiled master's migrations add up to, on a real PostgreSQL.
//   node tools/schema.mjs [--check]     --check: compare only, exit 1 when it differs
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const compiled = new URL('../apps/master/dist/platform/database/', import.meta.url);
const load = (name) => import(new URL(`${name}.js`, compiled).href);
const { startEmbeddedPostgres } = await load('embedded-postgres');
const { migrationSource } = await load('data-source');
const { migrate } = await load('migrate');
const { Database } = await load('database');
const { dumpSchema } = await load('schema-dump');

const file = new URL('../apps/master/schema.sql', import.meta.url);
const folder = await mkdtemp(path.join(tmpdir(), 'impgem-schema-'));
const server = await startEmbeddedPostgres({ folder, settings: { fsync: 'off' } });
let text;
try {
  const source = migrationSource(server.url);
  await source.initialize();
  await migrate(source);
  await source.destroy();
  const database = new Database({ url: server.url });
  text = await dumpSchema(database);
  await database.close();
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
if (!process.argv.includes('--check')) await writeFile(file, text);
else if (text !== (await readFile(file, 'utf8').catch(() => ''))) {
  console.error(
    'apps/master/schema.sql is not what the migrations make: run node tools/schema.mjs',
  );
  process.exitCode = 1;
}
