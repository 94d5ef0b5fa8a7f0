/**
 * What `impgem doctor` and `impgem workers prune` ask about this machine: a program of its own beside the worker, since
 * only the worker's executors know engines. It answers with one line of JSON on stdout.
 *
 *     care.js examine          findings about engine, disks and name servers, by the worker's own settings
 *     care.js objects FARM     what workers of the farm have in the engine
 *     care.js remove FARM      removes those that stdin lists as JSON ({kind, id})
 *
 * Exit codes: 0 answered; 2 a bad setting or command line; 5 the engine does not do it. Words are on stderr.
 */
import { FarmError, findings, type FarmObject, type Finding } from '@impgem/kit';
import { text } from 'node:stream/consumers';
import { ConfigError, readConfig, type WorkerConfig } from './config.js';
import { examineDisks } from './disk/index.js';
import { engineCare } from './executor/index.js';
import { examineNameServers } from './name-servers.js';

const EXIT = { ok: 0, usage: 2, engine: 5 } as const;

async function examine(): Promise<Finding[]> {
  let config: WorkerConfig;
  try {
    config = readConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { fail } = findings('worker settings');
    return error.problems.map((problem) => fail(problem, 'see docs/configuration.md'));
  }
  const { dataDir, executor, watermark } = config;
  if (executor.executor !== 'docker') {
    const { ok } = findings('engine');
    return [ok(`none is needed: IMPGEM_EXECUTOR is ${executor.executor}`)].concat(
      await examineDisks([dataDir], watermark),
    );
  }
  const care = engineCare(executor.docker);
  const root = await care.root();
  return [
    ...(await care.examine()),
    ...(await examineDisks([dataDir, ...(root === undefined ? [] : [root])], watermark)),
    ...(await examineNameServers(executor.docker.resolvers)),
  ];
}

const answer = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

async function main([command, farm, ...more]: readonly string[]): Promise<number> {
  const isFarm = farm !== undefined && /^[0-9a-f-]{36}$/.test(farm) && more.length === 0;
  try {
    if (command === 'examine' && farm === undefined) answer(await examine());
    else if (command === 'objects' && isFarm)
      answer(await engineCare(readConfig().executor.docker).objects(farm));
    else if (command === 'remove' && isFarm) {
      const wanted = JSON.parse(await text(process.stdin)) as Pick<FarmObject, 'kind' | 'id'>[];
      answer(await engineCare(readConfig().executor.docker).remove(farm, wanted));
    } else throw new ConfigError(['usage: care.js examine | objects FARM | remove FARM']);
    return EXIT.ok;
  } catch (error) {
    const { message } = error as Error;
    process.stderr.write(`${message}\n`);
    if (error instanceof ConfigError) return EXIT.usage;
    if (error instanceof FarmError) return EXIT.engine;
    throw error;
  }
}

process.exit(await main(process.argv.slice(2)));
