/**
 * A master's life. Start: take the port (a waiting room answers meanwhile), start or adopt the embedded database,
 * wait for it, migrate, make the application, listen. Stop: refuse what is new, let the features end in their
 * order, close the database's connections, stop the database that is ours.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeOwn } from '@impgem/kit';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp } from './app.js';
import {
  Database,
  folderHost,
  Lifecycle,
  logger,
  withConfig,
  type MasterConfig,
} from './platform/index.js';
import { dataSource as entitiesOf, migrationSource } from './platform/database/data-source.js';
import { backup, restore } from './platform/backup/backup.js';
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from './platform/database/embedded-postgres.js';
import { migrate } from './platform/database/migrate.js';
import { waitForDatabase } from './platform/database/wait-for-database.js';
import { idleConnections } from './platform/http/idle-connections.js';
import { openWaitingRoom, portError } from './platform/http/waiting-room.js';

const log = logger('master');
const REVIVE_EVERY_MS = 1000;
/**
 * Connections that may wait to be taken, as many as Linux allows by default (`net.core.somaxconn`). Of a fleet that comes back
 * at once, those beyond it try again after 1, 3, 7 and 15 seconds; Node's own 511 made that most of them.
 */
const BACKLOG = 4096;

export interface Master {
  /** Where it listens, e.g. `http://127.0.0.1:8010`. */
  url: string;
  app: NestFastifyApplication;
  database: Database;
  /** Resolves with `true` when all is closed, or after `limits.stopMs` with `false`. */
  stop(): Promise<boolean>;
}

/** What has been started so far, in order, each with its end; ended from the last to the first. */
class Endings {
  readonly #ends: { what: string; end: () => Promise<unknown> }[] = [];

  push(what: string, end: () => Promise<unknown>): void {
    this.#ends.push({ what, end });
  }

  async run(): Promise<void> {
    for (let last = this.#ends.pop(); last; last = this.#ends.pop())
      await last
        .end()
        .catch((err: unknown) => log.error({ err, what: last?.what }, 'did not end well'));
  }
}

/** Makes the data folder. Others may pass through, so that the embedded database's user gets to its own; they cannot list. */
async function takeFolder(dataDir: string): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  makeOwn(folderHost, dataDir);
}

/**
 * Rejects with `FarmError` when something outside keeps it from starting; nothing is left running then. `signal`
 * gives up while it starts. `onPostgres` is told of the embedded database, for a stop in haste.
 */
export async function startMaster(
  given: MasterConfig,
  { signal = new AbortController().signal, onPostgres }: StartOptions = {},
): Promise<Master> {
  const lifecycle = new Lifecycle();
  const endings = new Endings();
  try {
    await takeFolder(given.dataDir);
    const room = await openWaitingRoom(given, lifecycle);
    let waiting = true;
    const closeRoom = async () => {
      if (waiting) await room.close();
      waiting = false;
    };
    endings.push('waiting room', closeRoom);
    const config = withConfig(given, {
      port: room.port,
      // what stands for none given names the port, which is known only now
      publicUrl: new URL(given.publicUrl).port === '0' ? room.url : given.publicUrl,
    });
    const url = config.databaseUrl ?? (await startPostgres(config, endings, onPostgres)).url;
    await waitForDatabase(url, signal);
    await migrateTo(url);
    const database = new Database({ url, poolSize: config.limits.databaseConnections, onStatus });
    endings.push('database connections', () => database.close());
    const dataSource = await entitiesOf(url).initialize();
    endings.push('entities', () => dataSource.destroy());
    const app = await createApp({ config, database, dataSource, lifecycle });
    const { server } = app.getHttpAdapter().getInstance();
    const closeIdle = idleConnections(server);
    endings.push('application', async () => {
      // downloads and viewers that are still there by then are cut
      const cut = setTimeout(() => server.closeAllConnections(), config.limits.stopMs / 2);
      const stopClosing = closeIdle();
      await app.close().finally(() => {
        stopClosing();
        clearTimeout(cut);
      });
    });
    await app.init();
    signal.throwIfAborted();
    await closeRoom();
    const { host } = config;
    await app.listen({ port: room.port, host, backlog: BACKLOG }).catch((error: unknown) => {
      throw portError(error as NodeJS.ErrnoException, host, room.port);
    });
    lifecycle.serve();
    log.info({ url: room.url, dataDir: config.dataDir }, 'listening');
    return {
      url: room.url,
      app,
      database,
      async stop() {
        lifecycle.stop();
        const late = new AbortController();
        const deadline = sleep(config.limits.stopMs, 'late', { signal: late.signal, ref: false });
        const first = await Promise.race([endings.run(), deadline.catch(() => undefined)]);
        late.abort();
        if (first === 'late') log.warn('not everything ended in time');
        return first !== 'late';
      },
    };
  } catch (error) {
    await endings.run();
    throw error;
  }
}

export interface StartOptions {
  signal?: AbortSignal;
  onPostgres?: (postgres: EmbeddedPostgres) => void;
}

/**
 * Writes the farm into a folder, beside a running master or without one; or fills an empty one from a folder. Answers
 * whether all files were there.
 */
export async function copyFarm(
  direction: 'backup' | 'restore',
  folder: string,
  config: MasterConfig,
): Promise<boolean> {
  const endings = new Endings();
  try {
    await takeFolder(config.dataDir);
    const url = config.databaseUrl ?? (await startPostgres(config, endings)).url;
    const place = { url, blobs: path.join(config.dataDir, 'blobs') };
    const { lost, ...done } = await (direction === 'backup' ? backup : restore)(
      place,
      path.resolve(folder),
    );
    log.info({ folder, ...done }, `${direction} done`);
    if (lost.length > 0)
      log.error(
        { sha256: lost.slice(0, 20), lost: lost.length },
        'files of artifacts or long logs are missing or damaged where they were copied from; all else is there',
      );
    return lost.length === 0;
  } finally {
    await endings.run();
  }
}

async function startPostgres(
  config: MasterConfig,
  endings: Endings,
  onPostgres?: (postgres: EmbeddedPostgres) => void,
): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({
    folder: path.join(config.dataDir, 'postgres'),
    say: (message, facts) => log.info(facts ?? {}, message),
  });
  onPostgres?.(postgres);
  const watch = new AbortController();
  const watching = keepAlive(postgres, watch.signal);
  endings.push('embedded database', async () => {
    watch.abort();
    await watching;
    await postgres.stop();
  });
  return postgres;
}

/** The embedded database has no other guardian: when it dies it is started again. */
async function keepAlive(postgres: EmbeddedPostgres, signal: AbortSignal): Promise<void> {
  for (;;) {
    await sleep(REVIVE_EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined);
    if (signal.aborted) return;
    if (postgres.isRunning()) continue;
    log.error({ pid: postgres.pid }, 'the database has died; starting it again');
    await postgres.revive().catch((err: unknown) => log.error({ err }, 'it does not start'));
  }
}

async function migrateTo(url: string): Promise<void> {
  const source = migrationSource(url);
  await source.initialize();
  try {
    const done = await migrate(source);
    if (done.length > 0) log.info({ migrations: done }, 'migrated the database');
  } finally {
    await source.destroy();
  }
}

function onStatus(status: 'up' | 'down', error?: unknown): void {
  if (status === 'up') log.info('database up');
  else log.error({ err: error }, 'database down');
}
