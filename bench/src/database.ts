import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Farm } from '@impgem/e2e';
import { Client, types } from 'pg';

// counts and ids stay far below what a number holds
types.setTypeParser(types.builtins.INT8, Number);

/** A connection to the master's own database, beside the master. */
export async function openDatabase(farm: Farm): Promise<Client> {
  const folder = join(farm.dataDir, 'master/postgres');
  const [password, pid] = await Promise.all([
    readFile(join(folder, 'password'), 'utf8'),
    readFile(join(folder, 'data/postmaster.pid'), 'utf8'),
  ]);
  const client = new Client({
    host: '127.0.0.1',
    port: Number(pid.split('\n')[3]),
    user: 'impgem',
    database: 'impgem',
    password: password.trim(),
  });
  // when the farm ends, so does its database
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** What the database does about durability, as it says itself; of a session with the master's own settings. */
export async function durability(db: Client): Promise<string> {
  const { rows } = await db.query<{ text: string }>(
    `SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync') ||
            ', synchronous_commit ' || current_setting('synchronous_commit') ||
            ', full_page_writes ' || current_setting('full_page_writes') AS text`,
  );
  return rows[0]?.text ?? '';
}
