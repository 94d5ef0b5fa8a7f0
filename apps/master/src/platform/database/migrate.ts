import { FarmError } from '@impgem/kit';
import type { DataSource } from 'typeorm';
import { MIGRATIONS_TABLE } from './data-source.js';

/** Arbitrary, ours alone: masters that start at the same time migrate one after the other. */
const LOCK = 7_355_608;

/**
 * Brings the schema of a connected database to this program's version, each migration in a transaction of its
 * own, and returns their names. Throws `FarmError('database-newer')` when a newer master was here: going on
 * could harm what it wrote.
 */
export async function migrate(source: DataSource): Promise<string[]> {
  const runner = source.createQueryRunner();
  await runner.connect();
  try {
    await runner.query('SELECT pg_advisory_lock($1)', [LOCK]);
    await refuseNewer(source);
    const done = await source.runMigrations({ transaction: 'each' });
    await source.query('INSERT INTO farm (id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING');
    return done.map(({ name }) => name);
  } finally {
    await runner.query('SELECT pg_advisory_unlock($1)', [LOCK]).catch(() => undefined);
    await runner.release();
  }
}

async function refuseNewer(source: DataSource): Promise<void> {
  const [{ there }] = await source.query(
    `SELECT to_regclass('${MIGRATIONS_TABLE}') IS NOT NULL there`,
  );
  if (!there) return;
  const ours = new Set(source.migrations.map(({ name, constructor }) => name ?? constructor.name));
  const rows: { name: string }[] = await source.query(
    `SELECT name FROM ${MIGRATIONS_TABLE} ORDER BY id`,
  );
  const unknown = rows.map(({ name }) => name).filter((name) => !ours.has(name));
  if (unknown.length > 0)
    throw new FarmError(
      'database-newer',
      `the database was migrated by a newer master (${unknown.join(', ')}): run that version, or restore a backup made before it`,
    );
}
