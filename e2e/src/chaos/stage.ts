/**
 * What a round plays on: a database, two masters on it, two workers that reach them through a proxy each, all of them
 * processes that may be killed and started again.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BuildDetail, BuildRequest, Worker, Page } from '@impgem/client';
import { eventually } from '@impgem/testkit';
import { Farm, Refused } from '../farm.js';
import { NetworkSpace } from '../network-space.js';
import { Program, ROOT } from '../program.js';
import { FaultProxy } from './proxy.js';
import { startEmbeddedPostgres, type Postgres } from './tools.js';

export interface StageOptions {
  /** Of this round. */
  dir: string;
  /** Stands in the name of whatever this makes. */
  mark: string;
  engineHost: string;
  /** The master's own database, which masters start again; or one that nobody but us does. */
  database: 'embedded' | 'own';
  lostAfterS: number;
  /** Gives each worker a network of its own. */
  spaces: boolean;
}

export interface StageWorker {
  name: string;
  program: Program;
  proxy: FaultProxy;
  space: NetworkSpace | undefined;
  command: readonly string[];
  env: Record<string, string>;
}

const MASTERS = 2;
const WORKERS = 2;
const WORKER = join(ROOT, 'apps/worker/bundle/main.js');

export class Stage {
  readonly masters: Farm[] = [];
  readonly workers: StageWorker[] = [];
  /** Those that were stopped and cannot answer. */
  readonly frozen = new Set<Farm>();
  /** Programs that are gone, for what they said. */
  readonly #past: Program[] = [];
  #postgres: Postgres | undefined;

  constructor(readonly options: StageOptions) {}

  async start(): Promise<void> {
    const { dir, database, engineHost } = this.options;
    const temporary = join(dir, 'tmp');
    await mkdir(temporary, { recursive: true });
    if (database === 'own')
      this.#postgres = await startEmbeddedPostgres({ folder: join(dir, 'postgres') });
    const env = { TMPDIR: temporary, IMPGEM_LOST_AFTER_S: String(this.options.lostAfterS) };
    const masterEnv = { ...env, ...(this.#postgres ? { DATABASE_URL: this.#postgres.url } : {}) };
    const workerEnv = {
      TMPDIR: temporary,
      DOCKER_HOST: engineHost,
      IMPGEM_ALLOW_INSECURE: '1',
      IMPGEM_WORKER_SLOTS: '1',
    };
    const addMaster = async (): Promise<void> => {
      const master = new Farm(dir, { masterEnv, workerEnv });
      this.masters.push(master);
      await master.startMaster();
    };
    // the first makes the database
    await addMaster();
    const more = Array.from({ length: MASTERS - 1 }, addMaster);
    await Promise.all([...more, ...Array.from({ length: WORKERS }, (_, n) => this.#addWorker(n))]);
  }

  async #addWorker(n: number): Promise<void> {
    const [first] = this.masters as [Farm];
    const name = `worker-${n + 1}`;
    const { mark, spaces } = this.options;
    const space = spaces ? await NetworkSpace.make(`${mark}-${n}`) : undefined;
    const ports = () => this.masters.flatMap(({ url }) => (url ? [Number(new URL(url).port)] : []));
    const proxy = await FaultProxy.listen(space?.here ?? '127.0.0.1', ports);
    const env: Record<string, string> = {
      ...first.workerEnv(name, await first.registrationToken()),
      IMPGEM_MASTER_URL: `http://${space?.here ?? '127.0.0.1'}:${proxy.port}`,
      IMPGEM_NETWORKS_RANGE: `10.220.${((process.pid * WORKERS) % 256) + n}.0/24`,
    };
    await mkdir(env['IMPGEM_WORKER_DATA'] ?? '', { recursive: true });
    const command = [...(space?.inside ?? []), process.execPath, WORKER];
    const program = new Program(name, command, env);
    this.workers.push({ name, program, proxy, space, command, env });
    await first.untilWorker(name, 'online', () => program.exitCode !== null, program);
  }

  /** Asks the masters in turn until one of them answers. */
  async ask<T>(question: (master: Farm) => Promise<T>, timeoutMs = 90_000): Promise<T> {
    let last: unknown;
    return eventually(
      async () => {
        for (const master of this.masters) {
          if (!master.url || this.frozen.has(master) || master.master.exitCode !== null) continue;
          try {
            return await question(master);
          } catch (error) {
            if (!isOutage(error)) throw error;
            last = error;
          }
        }
        return undefined;
      },
      { timeoutMs, what: 'an answer of a master', saw: () => String(last) },
    );
  }

  request(id: number): Promise<BuildRequest> {
    return this.ask((master) => master.api<BuildRequest>('GET', `/build-requests/${id}`));
  }

  build(id: number): Promise<BuildDetail> {
    return this.ask((master) => master.api<BuildDetail>('GET', `/builds/${id}`));
  }

  async workerStates(): Promise<Worker[]> {
    return (await this.ask((master) => master.api<Page<Worker>>('GET', '/workers'))).items;
  }

  worker(name: string | null): StageWorker {
    const found = this.workers.find((one) => one.name === name);
    if (!found) throw new Error(`there is no worker ${name}`);
    return found;
  }

  /** The master to which the proxy has led the worker last. */
  masterOf(worker: StageWorker): Farm {
    const serving = this.masters.find(
      ({ url }) => Number(new URL(url).port) === worker.proxy.lastPort,
    );
    return serving ?? (this.masters[0] as Farm);
  }

  async killMaster(master: Farm): Promise<void> {
    this.#past.push(master.master);
    master.master.kill('SIGKILL');
    await master.master.exited;
  }

  async killWorker(worker: StageWorker): Promise<void> {
    this.#past.push(worker.program);
    worker.program.kill('SIGKILL');
    await worker.program.exited;
  }

  startWorker(worker: StageWorker): void {
    worker.program = new Program(worker.name, worker.command, worker.env);
  }

  /** `kill -9`, or the quick stop that an administrator uses. */
  async downPostgres(signal: 'SIGKILL' | 'SIGINT'): Promise<void> {
    const folder = this.#postgres ? 'postgres' : 'master/postgres';
    const file = join(this.options.dir, folder, 'data/postmaster.pid');
    const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
    process.kill(pid, signal);
    if (this.#postgres)
      await eventually(() => !this.#postgres?.isRunning(), { what: 'the end of Postgres' });
  }

  /** Where the masters do not see to it themselves. */
  async upPostgres(): Promise<void> {
    await this.#postgres?.revive();
  }

  /** Ends everything; whatever does not end as it should is in the list. */
  async stop(): Promise<string[]> {
    const problems: string[] = [];
    const end = async (what: string, ending: Promise<unknown>): Promise<void> => {
      await ending.catch((error: unknown) => problems.push(`${what}: ${String(error)}`));
    };
    for (const worker of this.workers) worker.program.kill('SIGCONT');
    for (const master of this.masters) master.master?.kill('SIGCONT');
    const stopWorker = async ({ program, name }: StageWorker): Promise<void> => {
      const code = await program.stop();
      if (code !== 0) problems.push(`${name} ended with ${code}`);
    };
    await Promise.all(this.workers.map((worker) => end(worker.name, stopWorker(worker))));
    for (const master of this.masters) if (master.master) await end('master', master.master.stop());
    for (const { proxy, space } of this.workers) {
      await end('proxy', proxy.close());
      if (space) await end('network', space.remove());
    }
    if (this.#postgres) await end('Postgres', this.#postgres.stop());
    return problems;
  }

  /** What every program has said, those that were killed first. */
  said(): { name: string; output: string }[] {
    const masters = this.masters.flatMap(({ master }) => (master ? [master] : []));
    const programs = [
      ...new Set([...this.#past, ...masters, ...this.workers.map(({ program }) => program)]),
    ];
    return programs.map(({ name, pid, output }) => ({ name: `${name}-${pid}`, output }));
  }
}

/** No master there, or one that has no database for the moment. */
function isOutage(error: unknown): boolean {
  if (error instanceof Refused) return error.status === 503;
  return error instanceof TypeError;
}
