import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { FarmError, HEAP_FLAGS } from '@impgem/kit';
import { copyFarm, startMaster, type Master } from './master.js';
import { examineDatabase } from './platform/database/examine-database.js';
import type { EmbeddedPostgres } from './platform/database/embedded-postgres.js';
import { isOfConnection } from './platform/http/raw-sockets.js';
import { logger, readConfig, setLogLevel } from './platform/index.js';

setFlagsFromString(HEAP_FLAGS);

const log = logger('master');
const starting = new AbortController();
let master: Master | undefined;
let postgres: EmbeddedPostgres | undefined;
let stopping = false;

/** First signal: in good order. Second: now; Postgres is told to stop, what it has committed is safe. */
function onSignal(name: NodeJS.Signals): void {
  if (stopping) return leave(1);
  stopping = true;
  log.info({ signal: name }, 'stopping');
  starting.abort(new FarmError('stopping', 'stopped while it started'));
  master?.stop().then(stopped, (err: unknown) => {
    log.fatal({ err }, 'cannot stop in good order');
    leave(1);
  });
}

function stopped(inTime: boolean): void {
  if (!inTime) return leave(1);
  log.info('stopped');
  process.exit(0);
}

function leave(code: number): void {
  postgres?.stopNow();
  process.exit(code);
}

process.on('SIGTERM', onSignal);
process.on('SIGINT', onSignal);
process.on('uncaughtException', (err, origin) => {
  if (origin === 'uncaughtException' && isOfConnection(err)) {
    log.error({ err }, 'the error of a connection had no owner; the connection has ended');
    return;
  }
  // A bug: going on could do harm. Whoever started us starts us again.
  log.fatal({ err, origin }, 'uncaught: the master ends');
  leave(1);
});

const USAGE =
  'usage: main.js [examine | backup FOLDER | restore FOLDER]; settings are in docs/configuration.md';

try {
  const config = readConfig();
  setLogLevel(config.logLevel);
  const [command, folder, ...more] = process.argv.slice(2);
  if (command === 'examine' && folder === undefined) {
    process.stdout.write(`${JSON.stringify(await examineDatabase(config))}\n`);
    process.exit(0);
  }
  if (command !== undefined) {
    const isKnown = command === 'backup' || command === 'restore';
    if (!isKnown || folder === undefined || more.length > 0) throw new FarmError('usage', USAGE);
    process.exit((await copyFarm(command, folder, config)) ? 0 : 1);
  }
  master = await startMaster(config, {
    signal: starting.signal,
    onPostgres: (started) => (postgres = started),
  });
  // The signal came after the last look at it.
  if (stopping) stopped(await master.stop());
} catch (error) {
  if (stopping) process.exit(0);
  if (error instanceof FarmError) log.fatal({ code: error.code }, error.message);
  else log.fatal({ err: error }, 'cannot start');
  process.exit(1);
}
