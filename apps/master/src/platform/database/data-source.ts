import pg from 'pg';
import { DataSource, getMetadataArgsStorage } from 'typeorm';
import { applicationName } from './embedded-postgres.js';
import { types } from './database.js';
import { MIGRATIONS } from './migrations/index.js';

/** The table in which TypeORM keeps which migrations ran. */
export const MIGRATIONS_TABLE = 'migrations';

/**
 * The entities' side of the database, not connected yet: all classes with `@Entity` that are loaded by now.
 * Never `synchronize`.
 */
export function dataSource(url: string): DataSource {
  return new DataSource({
    type: 'postgres',
    // by itself it would look for a package, and a bundle has none
    driver: pg,
    url,
    applicationName: applicationName(),
    poolSize: 5,
    entities: getMetadataArgsStorage().tables.map(({ target }) => target),
    uuidExtension: 'pgcrypto',
    installExtensions: false,
    synchronize: false,
    logging: false,
    connectTimeoutMS: 5000,
    extra: { types, keepAlive: true, statement_timeout: 60_000 },
  });
}

/** For migrations alone (all, or those given): no entities, and no limit of time. */
export function migrationSource(url: string, migrations = MIGRATIONS): DataSource {
  return new DataSource({
    type: 'postgres',
    // by itself it would look for a package, and a bundle has none
    driver: pg,
    url,
    applicationName: applicationName(),
    poolSize: 2,
    migrations,
    migrationsTableName: MIGRATIONS_TABLE,
    connectTimeoutMS: 5000,
    logging: false,
  });
}
