/**
 * A farm as a folder, without PostgreSQL's client programs, so that a new major of the embedded server never locks a
 * farm out: `database.gz`, and `blobs` with the files that its rows name (artifacts and long logs). A second backup into
 * the same folder copies only blobs that are new, and puts its `database.gz` in the place of the first. That file is
 * gzipped lines of JSON:
 *
 *     {"impgem":"backup","format":1,"migrations":[…]}      which schema it has
 *     {"table":"builders"}                                 then its rows, one a line, parents before children
 *     {"end":true,"rows":1234}                             without this line it is half a file
 *
 * It holds hashes of tokens, never secrets.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { FarmError } from '@impgem/kit';
import { Client, escapeIdentifier } from 'pg';
import { BlobStore } from '../storage/blobs.js';
import { holdBlobs } from '../storage/keep-blobs.js';
import { copyBlobs, type BlobCopies } from './copy-blobs.js';
import { connectionSettings } from '../database/database.js';
import { MIGRATIONS_TABLE, migrationSource } from '../database/data-source.js';
import { migrate } from '../database/migrate.js';
import { MIGRATIONS } from '../database/migrations/index.js';

const FORMAT = 1;
/** Rows of log chunks are large: some 13 MB at most in memory. */
const BATCH = 100;

interface Head {
  impgem: 'backup';
  format: number;
  migrations: string[];
}

/** Where a farm's rows and files are. */
export interface Place {
  url: string;
  /** Folder of its blobs. */
  blobs: string;
}

export interface Copied extends BlobCopies {
  rows: number;
}

/**
 * Writes what is committed now, from one snapshot; masters may go on. `database.gz` appears under its name when all is
 * there. Rejects with `FarmError('empty-database')`.
 */
export async function backup({ url, blobs }: Place, folder: string): Promise<Copied> {
  const client = new Client(connectionSettings(url));
  await client.connect();
  try {
    const { rows } = await client.query<{ farm: string | null }>(
      `SELECT to_regclass('farm') AS farm`,
    );
    if (!rows[0]?.farm)
      throw new FarmError(
        'empty-database',
        'there is no farm in this database: name the data folder of the master (IMPGEM_DATA or --data) or its DATABASE_URL',
      );
    await holdBlobs(client);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    // Taken before the snapshot: a partition that goes away after it would be missed, and what it was sealed into too.
    await client.query('LOCK TABLE log_chunks IN ACCESS SHARE MODE');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = databaseIn(folder);
    const half = `${file}.part`;
    const count = { rows: 0 };
    await pipeline(
      Readable.from(linesOf(client, count)),
      createGzip(),
      createWriteStream(half, { mode: 0o600, flush: true }),
    );
    const copies = await copyBlobs(client, {
      from: new BlobStore(blobs),
      to: new BlobStore(path.join(folder, 'blobs')),
      half: path.join(folder, 'blob.part'),
    });
    await rename(half, file);
    return { rows: count.rows, ...copies };
  } finally {
    await client.end();
  }
}

const databaseIn = (folder: string): string => path.join(folder, 'database.gz');

async function* linesOf(client: Client, count: { rows: number }): AsyncGenerator<string> {
  const { rows: ran } = await client.query<{ name: string }>(
    `SELECT name FROM ${MIGRATIONS_TABLE} ORDER BY id`,
  );
  const head: Head = {
    impgem: 'backup',
    format: FORMAT,
    migrations: ran.map(({ name }) => name),
  };
  yield `${JSON.stringify(head)}\n`;
  for (const table of await tablesInOrder(client)) {
    yield `${JSON.stringify({ table })}\n`;
    // A position in the outbox is a transaction of that server: another one begins to count anew, and readers
    // would wait for it. All get the lowest; among themselves their ids keep the order.
    await client.query(
      `DECLARE source NO SCROLL CURSOR FOR SELECT CASE WHEN to_jsonb(t) ? 'xid'
         THEN to_jsonb(t) || '{"xid":"3"}' ELSE to_jsonb(t) END::text AS line
       FROM ${escapeIdentifier(table)} t`,
    );
    for (;;) {
      const { rows } = await client.query<{ line: string }>(`FETCH ${BATCH} FROM source`);
      if (rows.length === 0) break;
      count.rows += rows.length;
      yield rows.map(({ line }) => `${line}\n`).join('');
    }
    await client.query('CLOSE source');
  }
  yield `${JSON.stringify({ end: true, rows: count.rows })}\n`;
}

/** All tables, what is referred to before what refers to it. */
async function tablesInOrder(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string; parents: string[] }>(
    `SELECT c.relname AS name, ARRAY(
       SELECT DISTINCT p.relname::text FROM pg_constraint k JOIN pg_class p ON p.oid = k.confrelid
       WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid) AS parents
     FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND c.relname <> $1
     ORDER BY c.relname`,
    [MIGRATIONS_TABLE],
  );
  const parents = new Map(rows.map((row) => [row.name, row.parents]));
  const order = new Set<string>();
  const visit = (name: string) => {
    if (order.has(name)) return;
    for (const parent of parents.get(name) ?? []) visit(parent);
    order.add(name);
  };
  for (const name of parents.keys()) visit(name);
  return [...order];
}

/**
 * Fills an empty database and the folder of its blobs from a backup, then brings the schema to this version. All or
 * nothing: the rows come in one transaction, after the file was read to its end once, and are committed when the files
 * are there. Rejects with `FarmError`: `backup-broken`, `database-not-empty`, `database-newer`.
 */
export async function restore({ url, blobs }: Place, folder: string): Promise<Copied> {
  const file = databaseIn(folder);
  const { head, rows } = await check(file);
  const known = new Set(MIGRATIONS.map(({ name }) => name));
  const unknown = head.migrations.filter((name) => !known.has(name));
  if (unknown.length > 0)
    throw new FarmError(
      'database-newer',
      `${folder} was made by a newer master (${unknown.join(', ')}): restore it with that version; nothing was changed`,
    );
  let copies: BlobCopies;
  const client = new Client(connectionSettings(url));
  await client.connect();
  try {
    await refuseFull(client);
    await migrateAsBackedUp(url, head.migrations);
    // Its rows are committed when all blobs are there.
    await holdBlobs(client);
    await client.query('BEGIN');
    await fill(client, file);
    copies = await copyBlobs(client, {
      from: new BlobStore(path.join(folder, 'blobs')),
      to: new BlobStore(blobs),
      half: path.join(blobs, 'restored.part'),
    });
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
  const source = await migrationSource(url).initialize();
  await migrate(source).finally(() => source.destroy());
  return { rows, ...copies };
}

async function refuseFull(client: Client): Promise<void> {
  const { rows: tables } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('farm') IS NOT NULL AS there`,
  );
  if (!tables[0]?.there) return;
  const { rows } = await client.query('SELECT 1 FROM farm');
  if (rows.length > 0)
    throw new FarmError(
      'database-not-empty',
      'a backup goes into an empty database: give a new IMPGEM_DATA or DATABASE_URL; nothing was changed',
    );
}

async function migrateAsBackedUp(url: string, names: readonly string[]): Promise<void> {
  const chosen = MIGRATIONS.filter(({ name }) => names.includes(name));
  const source = await migrationSource(url, chosen).initialize();
  await source.runMigrations({ transaction: 'each' }).finally(() => source.destroy());
}

async function fill(client: Client, file: string): Promise<void> {
  let table = '';
  let batch: string[] = [];
  // There are no partitions for the days gone by: what is not sealed comes in today.
  const { rows } = await client.query<{ today: string }>(
    `SELECT jsonb_build_object('day', (now() AT TIME ZONE 'utc')::date)::text AS today`,
  );
  const today = rows[0]?.today ?? '{}';
  const flush = async () => {
    if (batch.length === 0) return;
    const name = escapeIdentifier(table);
    await client.query(
      `INSERT INTO ${name} OVERRIDING SYSTEM VALUE
       SELECT t.* FROM jsonb_array_elements($1::jsonb) r, jsonb_populate_record(null::${name}, r || $2::jsonb) t`,
      [`[${batch.join(',')}]`, table === 'log_chunks' ? today : '{}'],
    );
    batch = [];
  };
  for await (const line of linesIn(file)) {
    const next = tableOf(line);
    if (next !== undefined) {
      await flush();
      table = next;
    } else if (table !== '' && !line.startsWith('{"end":')) {
      batch.push(line);
      if (batch.length >= BATCH) await flush();
    }
  }
  await flush();
  await client.query(NEXT_NUMBERS);
}

/** Numbers go on behind the highest that was restored. */
const NEXT_NUMBERS = `
  DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT table_name AS t, column_name AS n FROM information_schema.columns
      WHERE table_schema = 'public' AND is_identity = 'YES'
    LOOP
      EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, %L), coalesce(max(%I), 0) + 1, false) FROM %I',
        c.t, c.n, c.n, c.t);
    END LOOP;
  END $$`;

async function check(file: string): Promise<{ head: Head; rows: number }> {
  let head: Head | undefined;
  let rows = 0;
  let end: number | undefined;
  try {
    for await (const line of linesIn(file)) {
      if (!head) head = JSON.parse(line) as Head;
      else if (line.startsWith('{"end":')) end = (JSON.parse(line) as { rows: number }).rows;
      else if (tableOf(line) === undefined) rows++;
    }
  } catch (cause) {
    throw new FarmError('backup-broken', `${file} cannot be read: ${String(cause)}`, {}, { cause });
  }
  if (head?.impgem !== 'backup' || head.format !== FORMAT)
    throw new FarmError('backup-broken', `${file} is no backup that this version can read`);
  if (end !== rows)
    throw new FarmError('backup-broken', `${file} is not whole: ${rows} of ${end ?? '?'} rows`);
  return { head, rows };
}

/** The name in a line that begins a table. (No row of ours is an object with `table` as its first key.) */
function tableOf(line: string): string | undefined {
  return /^\{"table":"([a-z_]+)"\}$/.exec(line)?.[1];
}

/** Split at newlines only: readline takes other characters for ends of lines, too, which JSON may hold. */
async function* linesIn(file: string): AsyncGenerator<string> {
  const input = createReadStream(file);
  const text = createGunzip().setEncoding('utf8');
  input.once('error', (error) => text.destroy(error));
  let rest = '';
  for await (const piece of input.pipe(text) as AsyncIterable<string>) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}
