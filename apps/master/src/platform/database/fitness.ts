/**
 * Whether a database can carry a farm, found out by trying. What is wrong here would otherwise show much later, as an
 * internal error of every other request or as a build that never ends.
 */
import { Client, type ClientConfig } from 'pg';

/** The oldest PostgreSQL that its makers still mend. */
const OLDEST_MAJOR = 15;
/** A notification takes a millisecond; one that has not come by then never will. */
const NOTIFY_MS = 5000;
/** Tables of a farm, when there is one already, that a master must be able to change. */
const TABLES = [
  'builders',
  'build_requests',
  'builds',
  'leases',
  'events',
  'log_chunks',
  'workers',
];
const CHANNEL = 'impgem_try';

/** What is wrong with it, and how to mend that. */
export interface Unfitness {
  problem: string;
  mend: string;
}

interface Facts {
  version: string;
  major: number;
  encoding: string;
  client: string;
  escapes: string;
  standby: boolean;
  readOnly: boolean;
  schema: string | null;
  mayCreate: boolean;
  closed: string[];
}

const FACTS = `
  SELECT current_setting('server_version') AS version,
         current_setting('server_version_num')::int / 10000 AS major,
         current_setting('server_encoding') AS encoding, current_setting('client_encoding') AS client,
         current_setting('standard_conforming_strings') AS escapes,
         pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS "readOnly",
         current_schema() AS schema,
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS "mayCreate",
         ARRAY(SELECT name FROM unnest($1::text[]) AS ours(name)
               WHERE to_regclass(name) IS NOT NULL AND NOT (
                 has_table_privilege(to_regclass(name), 'SELECT') AND has_table_privilege(to_regclass(name), 'INSERT')
                 AND has_table_privilege(to_regclass(name), 'UPDATE')
                 AND has_table_privilege(to_regclass(name), 'DELETE'))) AS closed`;

/**
 * Asks and tries over connections of its own; changes nothing. Resolves with all that is wrong, nothing when all is
 * well. Rejects when the database does not answer or does not let us in.
 */
export async function unfitness(settings: ClientConfig): Promise<Unfitness[]> {
  const one = new Client(settings);
  const other = new Client(settings);
  for (const client of [one, other]) client.on('error', () => undefined);
  try {
    await one.connect();
    const { rows } = await one.query<Facts>(FACTS, [TABLES]);
    const problems = rows[0] ? unfit(rows[0]) : [];
    // On one that cannot be written to nothing more can be tried.
    if (rows[0]?.standby || rows[0]?.readOnly) return problems;
    await other.connect();
    const shared = await sharesSessions(one, other);
    return shared ? [...problems, shared] : problems;
  } catch (error) {
    const { message, code } = error as { message: string; code?: string };
    // A pooler's own words for settings that it does not know how to keep.
    if (code === '08P01' && /startup parameter/.test(message)) return [pooled(message)];
    throw error;
  } finally {
    await Promise.all([one, other].map((client) => client.end().catch(() => undefined)));
  }
}

function unfit(facts: Facts): Unfitness[] {
  const problems: Unfitness[] = [];
  const add = (problem: string, mend: string) => problems.push({ problem, mend });
  if (facts.major < OLDEST_MAJOR)
    add(
      `it is PostgreSQL ${facts.version}; ${OLDEST_MAJOR} is the oldest that will do`,
      'upgrade it, or name another in DATABASE_URL',
    );
  if (facts.encoding !== 'UTF8')
    add(
      `its encoding is ${facts.encoding}, which has no place for most of the world's characters`,
      "make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in DATABASE_URL",
    );
  if (facts.client !== 'UTF8')
    add(
      `it talks to us in ${facts.client} (client_encoding)`,
      'remove client_encoding from DATABASE_URL, or PGCLIENTENCODING from the environment',
    );
  if (facts.escapes !== 'on')
    add(
      'standard_conforming_strings is off in it',
      'ALTER DATABASE … RESET standard_conforming_strings, or set it to on',
    );
  if (facts.standby)
    add('it is a standby, which can only be read', "name the primary's address in DATABASE_URL");
  else if (facts.readOnly)
    add(
      'it is read-only for us (default_transaction_read_only)',
      'ALTER DATABASE … RESET default_transaction_read_only, or the same of the role',
    );
  if (facts.schema === null)
    add('there is no schema for our tables (search_path)', 'CREATE SCHEMA, or mend search_path');
  else if (!facts.mayCreate)
    add(
      `we may not make tables in its schema ${facts.schema}`,
      `GRANT CREATE ON SCHEMA ${facts.schema} TO the user of DATABASE_URL, or make that user its owner`,
    );
  if (facts.closed.length > 0)
    add(
      `we may not change its tables ${facts.closed.join(', ')}`,
      'name in DATABASE_URL the user that made them, or make another their owner',
    );
  return problems;
}

/**
 * A pooler that gives each transaction any session breaks three things of ours: statements that are prepared once,
 * settings of a session, and notifications. While another connection holds a session, one that has its own notices
 * nothing.
 */
async function sharesSessions(one: Client, other: Client): Promise<Unfitness | undefined> {
  const prepared = { name: 'impgem_try', text: 'SELECT pg_backend_pid() AS pid' };
  const pidOf = async (client: Client) =>
    (await client.query<{ pid: number }>(prepared)).rows[0]?.pid;
  try {
    const before = await pidOf(one);
    await other.query('BEGIN');
    const held = await pidOf(other);
    if (held === before) return pooled('two connections have one session');
    const after = await pidOf(one);
    await other.query('COMMIT');
    if (before !== after) return pooled('a session does not stay the same');
  } catch (error) {
    const { message, code } = error as { message: string; code?: string };
    // No such statement; one of that name already; it did not take the statement at all.
    if (code && /^(26000|42P05|08P01|0A000)$/.test(code)) return pooled(message);
    throw error;
  }
  if (await hears(one, other)) return undefined;
  return pooled('a notification did not arrive');
}

async function hears(one: Client, other: Client): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const heard = new Promise<boolean>((resolve) => {
    one.once('notification', () => resolve(true));
    timer = setTimeout(() => resolve(false), NOTIFY_MS);
  });
  await one.query(`LISTEN ${CHANNEL}`);
  await other.query(`NOTIFY ${CHANNEL}`);
  return heard.finally(() => clearTimeout(timer));
}

function pooled(what: string): Unfitness {
  return {
    problem: `a pooler in front of it shares sessions between transactions (${what}): prepared statements and notifications need a session of their own`,
    mend: "name the database's own address in DATABASE_URL, or let the pooler keep sessions (PgBouncer: pool_mode = session, ignore_startup_parameters = statement_timeout,idle_in_transaction_session_timeout)",
  };
}
