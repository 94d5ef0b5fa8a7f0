import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
// Loads every entity.
import '../../app.module.js';
import { Database } from './database.js';
import { dataSource, migrationSource } from './data-source.js';
import { migrate } from './migrate.js';
import { MIGRATIONS } from './migrations/index.js';
import { dumpSchema } from './schema-dump.js';

let test: TestDatabase;
let database: Database;

beforeAll(async () => {
  test = await testDatabase({ empty: true });
  database = new Database({ url: test.url });
});
afterAll(async () => {
  await database.close();
  await test.drop();
});

async function migrateOnce(url: string): Promise<string[]> {
  const source = await migrationSource(url).initialize();
  try {
    return await migrate(source);
  } finally {
    await source.destroy();
  }
}

describe('migrations', () => {
  it('run once, whoever starts at the same time', async () => {
    const runs = await Promise.all([migrateOnce(test.url), migrateOnce(test.url)]);
    const names = runs.flat();
    expect(names.length).toBeGreaterThan(0);
    expect(new Set(names).size).toBe(names.length);
    expect(await migrateOnce(test.url)).toEqual([]);
    expect(await database.query('SELECT count(*) n FROM farm')).toEqual([{ n: 1 }]);
  });

  it('add up to the committed schema.sql', async () => {
    const committed = await readFile(new URL('../../../schema.sql', import.meta.url), 'utf8');
    // Differs? node tools/schema.mjs
    expect(await dumpSchema(database)).toBe(committed);
  });

  it('leave no difference to the entities of the tables that they map', async () => {
    const source = await dataSource(test.url).initialize();
    try {
      expect(source.entityMetadatas.length).toBeGreaterThan(0);
      const mapped = source.entityMetadatas.map(({ tableName }) => tableName);
      const { upQueries } = await source.driver.createSchemaBuilder().log();
      const changes = upQueries
        .map(({ query }) => query)
        // Names of constraints and indexes are the migrations' business, and so are indexes as such.
        .filter((query) => !/CONSTRAINT|INDEX/.test(query))
        .filter((query) => mapped.some((table) => query.includes(`"${table}"`)));
      expect(changes).toEqual([]);
    } finally {
      await source.destroy();
    }
  });

  it('keep the chunks of logs that were there before there were partitions', async () => {
    const old = await testDatabase({ empty: true });
    const before = await migrationSource(
      old.url,
      MIGRATIONS.slice(
        0,
        MIGRATIONS.findIndex(({ name }) => name.startsWith('SealedLogs')),
      ),
    ).initialize();
    await before.runMigrations();
    const chunk = `(1, 0, $1, 1, 1, 3, 0, now(), 7, '\\x00ff0a')`;
    await before.query(
      `INSERT INTO log_chunks (build_id, step, byte_offset, seq, stream, length, first_line, at, crc32, data) VALUES ${chunk}`,
      [0],
    );
    await before.destroy();
    await migrateOnce(old.url);
    const after = new Database({ url: old.url });
    await after.query(
      `INSERT INTO log_chunks (build_id, step, byte_offset, seq, stream, length, first_line, at, crc32, data) VALUES ${chunk}`,
      [3],
    );
    const rows = await after.query(
      `SELECT byte_offset, tableoid::regclass = 'log_chunks_before'::regclass AS before FROM log_chunks ORDER BY 1`,
    );
    expect(rows).toEqual([
      { byte_offset: 0, before: true },
      { byte_offset: 3, before: false },
    ]);
    await after.close();
    await old.drop();
  });

  it('keep the definitions of requests that wait, each in the version that it was asked for', async () => {
    const old = await testDatabase({ empty: true });
    const at = MIGRATIONS.findIndex(({ name }) => name.startsWith('BuilderVersions'));
    const before = await migrationSource(old.url, MIGRATIONS.slice(0, at)).initialize();
    await before.runMigrations();
    for (const version of [1, 2])
      await before.query(
        `INSERT INTO farm_versions (source, sha256, applied_by, builders) VALUES ($1, $1, 't', '{b}')`,
        [version],
      );
    await before.query(
      `INSERT INTO builders (name, definition, farm_version, position) VALUES ('b', '{"of":2}', 2, 1)`,
    );
    await before.query(`INSERT INTO requirement_groups (labels) VALUES ('{}')`);
    for (const version of [1, 2, 1])
      await before.query(
        `INSERT INTO build_requests (builder_id, farm_version, definition, group_id, properties, rank, submitted_by)
         VALUES (1, $1, jsonb_build_object('of', $1::int), 1, '{}', 1, 't')`,
        [version],
      );
    await before.destroy();
    await migrateOnce(old.url);
    const after = new Database({ url: old.url });
    const rows = await after.query(
      `SELECT r.id, v.definition FROM build_requests r JOIN builder_versions v USING (builder_id, farm_version)
       ORDER BY r.id`,
    );
    expect(rows).toEqual([
      { id: 1, definition: { of: 1 } },
      { id: 2, definition: { of: 2 } },
      { id: 3, definition: { of: 1 } },
    ]);
    await after.close();
    await old.drop();
  });

  it('refuse a database that a newer master migrated', async () => {
    await database.query(`INSERT INTO migrations (timestamp, name) VALUES (9, 'Later9')`);
    await expect(migrateOnce(test.url)).rejects.toMatchObject({
      code: 'database-newer',
      message: expect.stringContaining('Later9'),
    });
  });
});
