/** What `impgem doctor` asks of the database when no master answers: nothing is started, made or changed. */
import path from 'node:path';
import { FarmError, findings, type Finding } from '@impgem/kit';
import { Client } from 'pg';
import type { MasterConfig } from '../config.js';
import { DataDisk } from '../storage/data-disk.js';
import { MIGRATIONS_TABLE } from './data-source.js';
import { connectionSettings, sessionSettings } from './database.js';
import { lookAtEmbedded } from './embedded-postgres.js';
import { unfitness } from './fitness.js';
import { MIGRATIONS } from './migrations/index.js';

const { ok, warn, fail } = findings('database');

/** Never rejects. */
export async function examineDatabase(config: MasterConfig): Promise<Finding[]> {
  if (config.databaseUrl !== undefined)
    return examineServer(config.databaseUrl, 'the database of DATABASE_URL');
  try {
    return [...(await examineEmbedded(config)), ...(await examineDisk(config))];
  } catch (error) {
    const { message } = error as Error;
    const isOurs = error instanceof FarmError;
    const mend = isOurs ? 'npm install' : 'run this as the user that runs the master';
    return [fail(`the data folder ${config.dataDir} cannot be read: ${message}`, mend)];
  }
}

async function examineEmbedded({ dataDir }: MasterConfig): Promise<Finding[]> {
  const { made, ours, url } = await lookAtEmbedded(path.join(dataDir, 'postgres'));
  if (made === undefined)
    return [
      warn(
        `there is no database in ${dataDir} yet; the first start of a master makes one`,
        'if there should be one, name its folder with IMPGEM_DATA',
      ),
    ];
  if (made !== ours)
    return [
      fail(
        `the database in ${dataDir} was made by PostgreSQL ${made}, this version brings ${ours}`,
        'with the version of Imp Gem that made it: impgem backup FOLDER; then move the folder away, and with this one: ' +
          'impgem restore FOLDER',
      ),
    ];
  if (url === undefined)
    return [
      warn(
        `the embedded PostgreSQL ${made} in ${dataDir} does not run`,
        'it starts with the master: impgem master, or impgem up',
      ),
    ];
  return examineServer(url, `the embedded database in ${dataDir}`);
}

async function examineDisk(config: MasterConfig): Promise<Finding[]> {
  const disk = findings('disk');
  const problem = await new DataDisk(config)
    .problem()
    .catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? undefined : error.message));
  if (problem === undefined) return [];
  return [disk.warn(`the master's ${config.dataDir}: ${problem}`, 'make room there')];
}

async function examineServer(url: string, what: string): Promise<Finding[]> {
  const client = new Client(connectionSettings(url));
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ version: string; there: boolean }>(
      `SELECT current_setting('server_version') AS version, to_regclass('${MIGRATIONS_TABLE}') IS NOT NULL AS there`,
    );
    const wrong = await unfitness(sessionSettings(url));
    const answers = [
      ok(`${what} answers: PostgreSQL ${rows[0]?.version}`),
      ...wrong.map(({ problem, mend }) => fail(problem, mend)),
    ];
    if (!rows[0]?.there)
      return [
        ...answers,
        warn('it is empty', 'the first start of a master, or impgem restore FOLDER, fills it'),
      ];
    const ran = await client.query<{ name: string }>(
      `SELECT name FROM ${MIGRATIONS_TABLE} ORDER BY id`,
    );
    return [...answers, schema(ran.rows.map(({ name }) => name))];
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    return [
      fail(
        `${what} does not let us in: ${message || code}`,
        'check that it runs, and address, user and password in DATABASE_URL',
      ),
    ];
  } finally {
    await client.end().catch(() => undefined);
  }
}

function schema(ran: readonly string[]): Finding {
  const known = MIGRATIONS.map(({ name }) => name);
  const newer = ran.filter((name) => !known.includes(name));
  if (newer.length > 0)
    return fail(
      `its schema is a newer version's (${newer.join(', ')})`,
      'run that version of Imp Gem, or restore a backup made before the upgrade',
    );
  const pending = known.filter((name) => !ran.includes(name));
  if (pending.length === 0) return ok("its schema is this version's");
  return warn(
    `${pending.length} migrations are pending (${pending.join(', ')})`,
    'the next start of a master runs them; make a backup first: impgem backup FOLDER',
  );
}
