/**
 * The farm's PostgreSQL, for hand-written SQL: queries, transactions, notifications. Entities and migrations go
 * through the TypeORM `DataSource` beside it.
 *
 * int8 comes as a number (ids stay far below 2^53), timestamptz as a Date, jsonb parsed. An array for a jsonb
 * parameter is passed as `JSON.stringify(array)`, since the driver makes a Postgres array of an array.
 */
import { Socket } from 'node:net';
import { Injectable } from '@nestjs/common';
import { gatherWrites } from '@impgem/kit';
import { Pool, types as standardTypes, type ClientConfig, type PoolClient } from 'pg';
import { applicationName } from './embedded-postgres.js';
import { Listener, type Hear } from './listener.js';
import { asFarmError, isOutage } from './outage.js';
import { statement } from './statement.js';

/** Something that runs SQL: the database, or one of its transactions. */
export interface Tx {
  /**
   * Rejects with `FarmError('database-unavailable')` when the database is away, else with the driver's error.
   */
  query<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: readonly unknown[],
  ): Promise<Row[]>;
}

/** A transaction: its statements run in the order of the calls, and several may be under way at once. */
export interface Transaction extends Tx {
  /**
   * Runs SQL whose rows nobody asks for, without a wait for its answer: what follows goes to the server right
   * behind it, COMMIT too. Its failure is that of the whole transaction.
   */
  send(sql: string, params?: readonly unknown[]): void;
}

export interface DatabaseOptions {
  url: string;
  /** Connections at most. */
  poolSize?: number;
  /** How long the server may take to answer a statement, which it should have cut by itself before. */
  patienceMs?: number;
  /** Told when the database goes away or is back. */
  onStatus?: (status: 'up' | 'down', error?: unknown) => void;
}

/** A statement or an idle transaction longer than this is cut: it would hold back the events' readers. */
const STATEMENT_TIMEOUT_MS = 60_000;
const PATIENCE_MS = STATEMENT_TIMEOUT_MS + 10_000;
const CONNECT_TIMEOUT_MS = 5000;

const INT8 = 20;

/** Type parsers of our pools. */
export const types = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8 && format !== 'binary') return Number;
    return standardTypes.getTypeParser(oid, format as 'text');
  },
} as unknown as typeof standardTypes;

/** What every connection of ours has. */
export function connectionSettings(url: string): ClientConfig {
  return {
    connectionString: url,
    application_name: applicationName(),
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    types,
  };
}

/** What a session of the pool has besides: limits that a hung statement or a forgotten transaction meets. */
export function sessionSettings(url: string): ClientConfig {
  return {
    ...connectionSettings(url),
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
  };
}

@Injectable()
export class Database implements Tx {
  readonly #pool: Pool;
  readonly #listener: Listener;
  readonly #onStatus: DatabaseOptions['onStatus'];
  #status: 'up' | 'down' = 'down';

  constructor(options: DatabaseOptions) {
    this.#onStatus = options.onStatus;
    this.#pool = new Pool({
      ...sessionSettings(options.url),
      max: options.poolSize ?? 20,
      idleTimeoutMillis: 60_000,
      // A server that is stopped, or behind a cut that nobody tells of, cuts nothing.
      query_timeout: options.patienceMs ?? PATIENCE_MS,
      // Statements of a transaction need not wait for each other's answers: each wait is a turn of two processes.
      pipeline: true,
      stream: () => gatherWrites(new Socket(), process.nextTick),
    });
    // An idle connection that breaks; the next query finds out by itself.
    this.#pool.on('error', (error) => this.#saw(error));
    this.#listener = new Listener(connectionSettings(options.url), (error) => this.#saw(error));
  }

  async query<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly unknown[] = [],
  ): Promise<Row[]> {
    try {
      const { rows } = await this.#pool.query<Row>(statement(sql, params));
      this.#saw();
      return rows;
    } catch (error) {
      this.#saw(error);
      throw asFarmError(error);
    }
  }

  /**
   * Runs `run` between BEGIN and COMMIT on one connection; any rejection rolls back and is passed on. When the
   * connection breaks during COMMIT the outcome is unknown: what follows must be safe to repeat.
   */
  async transaction<T>(run: (tx: Transaction) => Promise<T>): Promise<T> {
    let client: PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      this.#saw(error);
      throw asFarmError(error);
    }
    let broken: unknown;
    const watch = (error: unknown) => (broken = error);
    client.on('error', watch);
    const statements = new Statements(client);
    try {
      statements.send('BEGIN');
      const result = await run(statements);
      // After a failure that nobody waited for, the server takes this for ROLLBACK.
      statements.send('COMMIT');
      await statements.answered();
      this.#saw();
      return result;
    } catch (thrown) {
      const error = (await statements.failure()) ?? thrown;
      // A connection that is given up takes its transaction with it; one that hangs would not even answer this.
      if (isOutage(error)) broken ??= error;
      else await client.query('ROLLBACK').catch(watch);
      if (broken) this.#saw(broken);
      throw asFarmError(error);
    } finally {
      client.off('error', watch);
      client.release(broken instanceof Error ? broken : broken !== undefined);
    }
  }

  /**
   * Calls `handler` for every notification on the channel, with what it carries, and once more after a lost connection
   * is back, with '', since some may have been missed. Resolves when the server listens (or, while it is away, at
   * once); the returned function ends it. A handler must not throw.
   */
  async listen(channel: string, handler: Hear): Promise<() => void> {
    return this.#listener.listen(channel, handler);
  }

  /** What the last contact said. For the truth now, `ping()`. */
  status(): 'up' | 'down' {
    return this.#status;
  }

  /** Rejects with `FarmError('database-unavailable')`. */
  async ping(): Promise<void> {
    await this.query('SELECT 1');
  }

  /** Waits for running queries, then closes all connections. */
  async close(): Promise<void> {
    await this.#listener.close();
    await this.#pool.end();
  }

  #saw(error?: unknown): void {
    const status = error === undefined ? 'up' : isOutage(error) ? 'down' : this.#status;
    if (status === this.#status) return;
    this.#status = status;
    this.#onStatus?.(status, error);
  }
}

/** The statements of one transaction. */
class Statements implements Transaction {
  readonly #sent: Promise<unknown>[] = [];

  constructor(private readonly client: PoolClient) {}

  async query<Row extends object>(sql: string, params: readonly unknown[] = []): Promise<Row[]> {
    try {
      return (await this.client.query<Row>(statement(sql, params))).rows;
    } catch (error) {
      // The first failure is the cause of those behind it, which only say that the transaction is over.
      throw asFarmError((await this.failure()) ?? error);
    }
  }

  send(sql: string, params: readonly unknown[] = []): void {
    const answer = this.client.query(statement(sql, params));
    // Told by `answered`.
    answer.catch(() => undefined);
    this.#sent.push(answer);
  }

  /** Settles when all that was sent is done; rejects with the first failure. */
  async answered(): Promise<void> {
    for (const answer of this.#sent) await answer;
  }

  /** Why what was sent failed, if something did. */
  async failure(): Promise<unknown> {
    return this.answered().then(
      () => undefined,
      (error: unknown) => error,
    );
  }
}
