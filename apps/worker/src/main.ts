/**
 * The worker program. It takes everything from environment and `worker.yml` (see config.ts), writes JSON logs on
 * stderr, and ends with one of `EXIT`. The first SIGTERM or SIGINT lets running builds finish and takes nothing
 * new; the second stops them: they end as `retry`, for another worker to take. SIGUSR2 ends the worker at once and
 * lets its builds run on, for the next start to take up, as KILL does, but with nothing held back meanwhile.
 */
import { FarmError, HEAP_FLAGS, isMarked, makeOwn } from '@impgem/kit';
import type { AttemptRef, ExitWhy, WorkerEvent } from '@impgem/protocol';
import { createHash, randomUUID } from 'node:crypto';
import { readFile, realpath, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { availableParallelism, hostname, totalmem } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { pino, type Logger } from 'pino';
import { Builds, Uploads } from './build/index.js';
import { ConfigError, folderHost, readConfig, type WorkerConfig } from './config.js';
import { Disk, DiskGuard, free } from './disk/index.js';
import { createExecutor, type Executor } from './executor/index.js';
import { credentialOf } from './registration.js';
import { dial, Session } from './session/index.js';
import { Budget, Spool } from './spool/index.js';
import { cacheAt, checkout } from './workspace/index.js';

setFlagsFromString(HEAP_FLAGS);

/** Exit codes. */
const EXIT = {
  /** Drained: all builds finished and delivered. */
  ok: 0,
  /** An error of the program. */
  error: 1,
  /** A bad key, an address that must not be used, or an argument. */
  config: 2,
  /** Not registered, or the master does not accept the credential. */
  credential: 3,
  /** The master does not speak this version. */
  version: 4,
  /** Steps cannot run here: no engine, say. */
  executor: 5,
  /** Another worker uses the data folder. */
  locked: 6,
  /** Stopped before everything was delivered; the next start delivers it. */
  stopped: 7,
  /** Left, by SIGUSR2: builds run on, and the next start takes them up. */
  left: 8,
} as const;

const EXIT_OF: Record<ExitWhy, number> = {
  drained: EXIT.ok,
  stopped: EXIT.stopped,
  unauthenticated: EXIT.credential,
  revoked: EXIT.credential,
  version: EXIT.version,
};

const SWEEP_MS = 5 * 60_000;
/** What is given up at the end, when an engine does not answer. */
const SETTLE_MS = 20_000;
/** What a worker that leaves waits for: a request to the engine or two. */
const LEAVE_MS = 5_000;

/** An end with a message for people and a code for scripts. */
class Fatal extends Error {
  constructor(
    readonly code: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

const USAGE = 'usage: main.js, without arguments; settings are in docs/configuration.md';

async function main(): Promise<number> {
  const first = pino({ level: 'info' }, pino.destination({ dest: 2, sync: true }));
  let config: WorkerConfig;
  try {
    if (process.argv.length > 2) throw new ConfigError([USAGE]);
    config = readConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) first.fatal(problem);
    return EXIT.config;
  }
  const log = first.child({ program: 'worker' }, { level: config.logLevel });
  process.on('uncaughtException', (err) => {
    log.fatal(
      { err },
      'an error of the program; it ends, and what runs is taken up at the next start',
    );
    process.exit(EXIT.error);
  });
  try {
    return await work(config, log);
  } catch (error) {
    if (error instanceof Fatal) log.fatal({ code: error.code }, error.message);
    else log.fatal({ err: error }, 'an error of the program');
    return error instanceof Fatal ? error.code : EXIT.error;
  }
}

async function work(config: WorkerConfig, log: Logger): Promise<number> {
  await takeFolder(config);
  await lock(config.dataDir);
  const hello = await helloOf(config);
  const credential = await orFatal(EXIT.credential, credentialOf(config, hello, log));
  const obey = obeySignals(log);
  const executor = await orFatal(EXIT.executor, opened(config, credential.farm, credential.id));
  void warnOfExposure(executor, log);
  const { dataDir, watermark } = config;
  const cacheDir = join(dataDir, 'mirrors');
  const cache = cacheAt(cacheDir);
  const disk = new Disk({ dataDir, storage: executor.storage, cache, watermark, log });
  let leaked = 0;
  const uploads = new Uploads();
  const report = (event: WorkerEvent): void => session.dispatch(event);
  const builds = new Builds(
    {
      executor,
      uploads,
      stepLog: config.executor.docker.logCap,
      spool: new Spool(join(config.dataDir, 'spool'), new Budget(config.spoolQuota)),
      checkout: (order) =>
        checkout({
          ...order,
          cacheDir,
          allowLocal: config.allowLocalSources,
        }),
      log,
    },
    report,
  );
  const session = new Session({
    hello,
    dial: () => dial(config.dialing, credential.token),
    vitals: () => ({ ...disk.report, leaked, spooled: builds.spooled }),
    uploads,
    log: log.child({ worker: credential.id }),
  });
  const found = await builds.recover();
  const clean = async (): Promise<void> => {
    leaked += await sweep(executor, builds.attempts, log);
    const left = await cache.sweep();
    const unused = await cache.trim(config.mirrors);
    if (left + unused > 0)
      log.info({ left, unused }, 'removed clones left behind, and copies of repositories not used');
  };
  await clean();
  const sweepFailed = (err: unknown): void => log.error({ err }, 'the sweep failed');
  const timer = setInterval(() => clean().catch(sweepFailed), SWEEP_MS);
  await disk.start();
  const guard = guardOf(executor, builds, config, log);
  guard.start();
  session.start(builds, found);
  builds.resume();
  log.info({ name: credential.name, master: config.dialing.masterUrl }, 'ready');
  obey(session);
  process.once('SIGUSR2', () => {
    leave(executor, builds, log).catch(() => process.exit(EXIT.error));
  });
  const { why, message } = await session.ended;
  clearInterval(timer);
  disk.stop();
  guard.stop();
  log[why === 'drained' ? 'info' : 'fatal']({ why }, advised(why, message));
  await within(SETTLE_MS, builds.settled(), log);
  await within(SETTLE_MS, executor.close(), log);
  return EXIT_OF[why];
}

/** Makes the data folder ours. What a version before the mark may have left there of settings of git's goes. */
async function takeFolder({ dataDir, dataDirNamed }: WorkerConfig): Promise<void> {
  if (!dataDirNamed && !isMarked(folderHost, dataDir))
    await rm(join(dataDir, 'mirrors'), { recursive: true, force: true });
  makeOwn(folderHost, dataDir);
}

async function orFatal<T>(code: number, promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    if (!(error instanceof FarmError)) throw error;
    const own = error.code === 'insecure' || error.code === 'config' ? EXIT.config : code;
    throw new Fatal(own, error.message, { cause: error });
  }
}

async function opened(config: WorkerConfig, farm: string, worker: string): Promise<Executor> {
  const executor = createExecutor(config.executor);
  await executor.open({ farm, worker });
  return executor;
}

/** How long the disk may wait for a build to be gone that was ended for it. */
const GONE_WITHIN_MS = 60_000;

function guardOf(executor: Executor, builds: Builds, config: WorkerConfig, log: Logger): DiskGuard {
  const { watermark, floorBytes: bytes } = config;
  // By inodes, too, unless it is switched off.
  const floor = { bytes, inodes: bytes === 0 ? 0 : Math.floor(watermark.inodes / 4) };
  return new DiskGuard({
    measure: async () => {
      const folder = await executor.workspacesAt?.();
      return folder === undefined ? undefined : free(folder);
    },
    watermark,
    floor,
    usage: async () => (await executor.usage?.()) ?? [],
    end: (attempt, message) =>
      within(GONE_WITHIN_MS, builds.end(attempt, { code: 'disk-full', message }), log),
    log,
  });
}

/** What answers a step on the machine that runs it: an engine there is the machine itself. */
async function warnOfExposure(executor: Executor, log: Logger): Promise<void> {
  const reached = (await executor.exposed?.()) ?? [];
  if (reached.length === 0) return;
  const advice =
    "steps reach services of the machine that runs them: an engine there gives them all of it. Let those listen on 127.0.0.1 only, or leave 'host: deny' in the policy file";
  log.warn({ reached }, advice);
}

/** What the worker says of itself in each hello. */
async function helloOf(config: WorkerConfig) {
  const arch = { x64: 'amd64' }[process.arch as string] ?? process.arch;
  const own = [`os=${process.platform}`, `arch=${arch}`, `executor=${config.executor.executor}`];
  const about = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  return {
    version: (JSON.parse(about) as { version: string }).version,
    process: randomUUID(),
    platform: {
      os: process.platform,
      arch,
      hostname: hostname(),
      cpus: availableParallelism(),
      memory: totalmem(),
    },
    executor: config.executor.executor,
    labels: [...new Set([...own, ...config.labels])],
    slots: config.slots,
  };
}

/**
 * Keeps a second worker off the data folder, whose spool has one writer. The name of an abstract socket goes away
 * with its process, however that ends; a lock file would stay.
 */
async function lock(dataDir: string): Promise<void> {
  const id = createHash('sha256')
    .update(await realpath(dataDir))
    .digest('hex')
    .slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new Fatal(
          EXIT.locked,
          `another worker uses ${dataDir}; give this one its own IMPGEM_WORKER_DATA`,
          {
            cause,
          },
        ),
      ),
    );
    server.listen(`\0impgem-worker-${id}`, resolve);
  });
  server.unref();
}

async function sweep(
  executor: Executor,
  keep: readonly AttemptRef[],
  log: Logger,
): Promise<number> {
  try {
    const { found, stuck } = await executor.sweep(keep);
    if (found > 0) log.warn({ found }, 'found what was left behind and no build needs; it goes');
    if (stuck.length > 0)
      log.error({ stuck }, 'what was left behind cannot be removed; the next sweep tries again');
    return found;
  } catch (err) {
    log.error({ err }, 'the sweep failed; the next one tries again');
    return 0;
  }
}

/**
 * Takes the signals from before the executor makes anything, so that none ends the process with holders left in the
 * engine. What comes before there is a session waits for it; the second one does not.
 */
function obeySignals(log: Logger): (session: Session) => void {
  let signals = 0;
  let obeying: Session | undefined;
  const tell = (): void => obeying?.dispatch({ type: signals === 1 ? 'drain' : 'stop' });
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.on(name, () => {
      signals += 1;
      if (signals > 2) return;
      log.info({ signal: name }, signals === 1 ? 'drains: no new builds' : 'stops now');
      if (!obeying && signals === 2) process.exit(EXIT.stopped);
      tell();
    });
  return (session) => {
    obeying = session;
    if (signals > 0) tell();
  };
}

/** Ends the process as it is: what is in its memory is nothing that the next one could not find. */
async function leave(executor: Executor, builds: Builds, log: Logger): Promise<never> {
  log.info({ signal: 'SIGUSR2' }, 'leaves: builds run on, and the next start takes them up');
  await within(LEAVE_MS, Promise.all([executor.leave(), builds.flushed()]), log);
  process.exit(EXIT.left);
}

function advised(why: ExitWhy, message: string): string {
  if (why === 'unauthenticated' || why === 'revoked')
    return `${message}. Remove credential.json from the data folder and start with a new IMPGEM_REGISTRATION_TOKEN (\`impgem workers add\`).`;
  if (why === 'version') return `${message}. Upgrade the older of the two.`;
  return message;
}

async function within(ms: number, promise: Promise<unknown>, log: Logger): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      log.error('something does not end; the next start cleans up');
      resolve();
    }, ms);
  });
  try {
    await Promise.race([promise, late]);
  } catch (err) {
    log.error({ err }, 'the end is not clean; the next start cleans up');
  } finally {
    clearTimeout(timer);
  }
}

process.exit(await main());
