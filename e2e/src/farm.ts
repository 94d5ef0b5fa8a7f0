import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  AppliedFarm,
  Build,
  BuildDetail,
  BuildRequest,
  NewRegistrationToken,
  Page,
  Worker,
} from '@impgem/client';
import { eventually, hasTestServer, testDatabase, type TestDatabase } from '@impgem/testkit';
import { Program, ROOT } from './program.js';

export interface FarmOptions {
  executor?: 'docker' | 'host' | 'scripted';
  /** Kept when given; otherwise a folder of its own that is removed with the farm. */
  dataDir?: string;
  /**
   * A database of its own, as `npm start` makes one, which costs two processor seconds; else one of the run's server where
   * there is one.
   */
  embedded?: true;
  /** How many workers register and come online before `startFarm` returns. */
  workers?: number;
  /** More environment for the master. */
  masterEnv?: Record<string, string>;
  /** More environment for every worker. */
  workerEnv?: Record<string, string>;
}

/** An answer of the master that is not a success. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly body: {
      code?: string;
      detail?: string;
      problems?: { path: string; message: string }[];
    },
  ) {
    super(`${status} ${JSON.stringify(body)}`);
  }
}

/**
 * The built programs as processes, with free ports and a folder of their own. `stop()` ends them all and removes
 * the folder; a program that does not end by itself fails the test.
 */
export class Farm {
  readonly workers: Program[] = [];
  master!: Program;
  url = '';
  token = '';
  /** Of the run's server. */
  #database?: TestDatabase;

  constructor(
    readonly dataDir: string,
    readonly options: FarmOptions,
  ) {}

  /** The master's database, when it is one of the run's server. */
  async #databaseUrl(): Promise<Record<string, string>> {
    const { embedded, dataDir, masterEnv } = this.options;
    if (embedded || dataDir || masterEnv?.['DATABASE_URL'] || !hasTestServer()) return {};
    this.#database ??= await testDatabase();
    return { DATABASE_URL: this.#database.url };
  }

  async startMaster(): Promise<void> {
    const dir = join(this.dataDir, 'master');
    this.master = new Program(
      'master',
      [process.execPath, join(ROOT, 'apps/master/bundle/main.js')],
      {
        IMPGEM_DATA: dir,
        // the same port again after a restart, so that workers find it
        IMPGEM_PORT: this.url ? new URL(this.url).port : '0',
        ...(await this.#databaseUrl()),
        ...this.options.masterEnv,
      },
    );
    const line = await this.master.line((text) => text.includes('"msg":"listening"'));
    this.url = (JSON.parse(line) as { url: string }).url;
    this.token = (await readFile(join(dir, 'admin-token'), 'utf8')).trim();
  }

  /** One request with the admin token (or another one); throws `Refused` with the problem. */
  async api<T>(method: string, path: string, body?: unknown, token = this.token): Promise<T> {
    const answer = await this.fetch(method, path, body, token);
    const text = await answer.text();
    if (!answer.ok) throw new Refused(answer.status, JSON.parse(text || '{}') as Refused['body']);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  fetch(method: string, path: string, body?: unknown, token = this.token): Promise<Response> {
    const yaml = typeof body === 'string';
    return fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(body === undefined
          ? {}
          : { 'content-type': yaml ? 'application/yaml' : 'application/json' }),
      },
      ...(body === undefined ? {} : { body: yaml ? body : JSON.stringify(body) }),
    });
  }

  /** For one worker; of this name, where it is given. */
  async registrationToken(name?: string): Promise<string> {
    const made = await this.api<NewRegistrationToken>('POST', '/registration-tokens', {
      names: name === undefined ? undefined : [name],
    });
    return made.token;
  }

  /** The environment of a worker with this name, that registers with this token. */
  workerEnv(name: string, registrationToken: string): Record<string, string> {
    return {
      IMPGEM_MASTER_URL: this.url,
      IMPGEM_REGISTRATION_TOKEN: registrationToken,
      IMPGEM_WORKER_NAME: name,
      IMPGEM_WORKER_DATA: join(this.dataDir, name),
      IMPGEM_EXECUTOR: this.options.executor ?? 'docker',
      IMPGEM_ALLOW_HOST_EXECUTOR: '1',
      // the scenarios make their own repositories
      IMPGEM_ALLOW_LOCAL_SOURCES: '1',
      ...this.options.workerEnv,
    };
  }

  /** Starts a worker; the words of `prefix` stand before its command, e.g. `ip netns exec far`. */
  async addWorker(
    name: string,
    more: { env?: Record<string, string>; prefix?: readonly string[] } = {},
  ): Promise<Program> {
    const env = { ...this.workerEnv(name, await this.registrationToken(name)), ...more.env };
    await mkdir(join(this.dataDir, name), { recursive: true });
    const command = [process.execPath, join(ROOT, 'apps/worker/bundle/main.js')];
    const worker = new Program(name, [...(more.prefix ?? []), ...command], env);
    this.workers.push(worker);
    await this.untilWorker(name, 'online', () => worker.exitCode !== null, worker);
    return worker;
  }

  async untilWorker(
    name: string,
    state: Worker['state'],
    hopeless: () => boolean = () => false,
    program?: Program,
  ): Promise<Worker> {
    let seen: unknown;
    return eventually(
      async () => {
        if (hopeless()) throw new Error(`${name} ended:\n${program?.output.slice(-4_000)}`);
        const { items } = await this.api<Page<Worker>>('GET', '/workers');
        seen = items;
        return items.find((worker) => worker.name === name && worker.state === state);
      },
      {
        what: `worker ${name} ${state}`,
        saw: () => `${JSON.stringify(seen)}\n${program?.output.slice(-4_000) ?? ''}`,
      },
    );
  }

  apply(source: string): Promise<AppliedFarm> {
    return this.api<AppliedFarm>('PUT', '/farm', source);
  }

  request(builder: string, properties: Record<string, string> = {}): Promise<BuildRequest> {
    return this.api<BuildRequest>('POST', '/build-requests', { builder, properties });
  }

  /** Waits until the request has a build in one of the states, and returns its newest attempt. */
  async untilBuild(
    request: number,
    states: readonly Build['state'][] = ['finished'],
    timeoutMs = 120_000,
  ): Promise<BuildDetail> {
    let seen: unknown;
    const id = await eventually(
      async () => {
        const now = await this.api<BuildRequest>('GET', `/build-requests/${request}`);
        seen = now;
        const last = now.builds.at(-1);
        if (!last || !states.includes(last.state)) return undefined;
        // an attempt that will be retried is not the end of the request
        if (last.state === 'finished' && now.state !== 'finished') return undefined;
        return last.id;
      },
      {
        what: `build of request ${request}`,
        timeoutMs,
        saw: () => `${JSON.stringify(seen)}\n${this.told()}`,
      },
    );
    return this.api<BuildDetail>('GET', `/builds/${id}`);
  }

  /** Applies, triggers, waits for the end. */
  async build(
    source: string,
    builder: string,
    properties?: Record<string, string>,
  ): Promise<BuildDetail> {
    await this.apply(source);
    const request = await this.request(builder, properties);
    return this.untilBuild(request.id);
  }

  async log(build: number, step: number, query = ''): Promise<Buffer> {
    const answer = await this.fetch('GET', `/builds/${build}/steps/${step}/log${query}`);
    if (!answer.ok) throw new Refused(answer.status, (await answer.json()) as Refused['body']);
    return Buffer.from(await answer.arrayBuffer());
  }

  /** The log of the step with this name, as text. */
  async logOf(build: BuildDetail, name: string): Promise<string> {
    const step = build.steps.find((one) => one.name === name);
    if (!step)
      throw new Error(`no step ${name} in ${build.steps.map((one) => one.name).join(', ')}`);
    return (await this.log(build.id, step.index)).toString();
  }

  async artifact(build: number, path: string): Promise<Buffer> {
    const answer = await this.fetch('GET', `/builds/${build}/artifacts/${path}`);
    if (!answer.ok) throw new Refused(answer.status, (await answer.json()) as Refused['body']);
    return Buffer.from(await answer.arrayBuffer());
  }

  /** The end of what the programs have said, for the message of a failed test. */
  told(): string {
    return [this.master, ...this.workers]
      .filter(Boolean)
      .map((program) => `── ${program.name}\n${program.output.slice(-3_000)}`)
      .join('\n');
  }

  async stop(): Promise<void> {
    const ended = await Promise.allSettled(this.workers.map(drained));
    if (this.master) ended.push(...(await Promise.allSettled([this.master.stop()])));
    await this.#database?.drop();
    if (!this.options.dataDir) await rm(this.dataDir, { recursive: true, force: true });
    for (const one of ended) if (one.status === 'rejected') throw one.reason;
  }
}

/** A worker that has nothing to do ends with 0, having cleaned up; another code is an end that it did not want. */
async function drained(worker: Program): Promise<number> {
  const alive = worker.exitCode === null;
  const code = await worker.stop();
  if (alive && code !== 0)
    throw new Error(`${worker.name} ended with ${code}:\n${worker.output.slice(-4_000)}`);
  return code;
}

export async function startFarm(options: FarmOptions = {}): Promise<Farm> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'impgem-e2e-')));
  // as root, PostgreSQL runs as another user, which has to get at its data
  await chmod(dataDir, 0o755);
  const farm = new Farm(dataDir, options);
  try {
    await farm.startMaster();
    for (let n = 1; n <= (options.workers ?? 1); n++) await farm.addWorker(`worker-${n}`);
    return farm;
  } catch (error) {
    await farm.stop().catch(() => undefined);
    throw error;
  }
}
