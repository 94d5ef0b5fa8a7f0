/**
 * A database of its own for each test file. `tools/jest-postgres.mjs` starts one real PostgreSQL for a run of
 * Jest (kinds `db` and `e2e`) and makes a migrated template; a copy of that takes some 50 ms.
 */
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';

/** Names the server for the tests: a URL of its maintenance database, as a superuser. */
const SERVER = 'IMPGEM_TEST_POSTGRES';
const TEMPLATE = 'impgem_template';

export interface TestDatabase {
  /** `postgres://…`, for `new Database({ url })` or a master's `DATABASE_URL`. */
  url: string;
  /** Cuts all connections and removes it. */
  drop(): Promise<void>;
  /**
   * Takes the database away: cuts its connections and refuses new ones until the returned function is called.
   */
  cutOff(): Promise<() => Promise<void>>;
}

/** A fresh, migrated database; or an empty one, to try migrations on. */
export async function testDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const server = testServer();
  const name = `test_${randomBytes(6).toString('hex')}`;
  await ask(server, `CREATE DATABASE ${name} TEMPLATE ${options.empty ? 'template0' : TEMPLATE}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    drop: () => ask(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
    async cutOff() {
      // A superuser is let in whatever ALLOW_CONNECTIONS says of its limit, so it is the former that is used.
      await ask(server, `ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
      await ask(
        server,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
      );
      return () => ask(server, `ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    },
  };
}

/** Whether this run of tests has a server: those of the kinds `db` and `e2e` do. */
export const hasTestServer = (): boolean => Boolean(process.env[SERVER]);

/** URL of the test run's server. Throws when there is none. */
export function testServer(): string {
  const url = process.env[SERVER];
  if (!url)
    throw new Error('no PostgreSQL for tests: run them with node ../../tools/jest.mjs --kind db');
  return url;
}

async function ask(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
