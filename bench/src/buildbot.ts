import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Program } from '@impgem/e2e';
import { deferred, type Deferred } from '@impgem/kit';
import { eventually } from '@impgem/testkit';
import { WebSocket } from 'ws';
import { withEnd } from './with-end.js';

const execute = promisify(execFile);

/** Debian's Buildbot needs the package of its web page to serve its REST interface; this stands in for the page. */
const STUB = {
  'buildbot_www/__init__.py':
    'from buildbot.www.plugin import Application\nep = Application(__name__, "stub")\n',
  'buildbot_www/VERSION': '0\n',
  'buildbot_www/static/index.html': '<!doctype html>\n',
  'buildbot_www-0.egg-info/PKG-INFO': 'Metadata-Version: 1.0\nName: buildbot-www\nVersion: 0\n',
  'buildbot_www-0.egg-info/entry_points.txt': '[buildbot.www]\nbase = buildbot_www:ep\n',
};

export interface BuildbotOptions {
  workers: number;
  /** Of each worker. */
  slots: number;
  /** Shell text of each builder's steps. */
  builders: Record<string, readonly string[]>;
}

/** What a step must have printed. */
export interface BuildbotExpected {
  steps: number;
  /** Of the first step's standard output, and how much it is at least. */
  log: string;
  bytes?: number;
}

const python = (value: unknown) => JSON.stringify(value);

const masterConfig = ({ workers, slots, builders }: BuildbotOptions, web: number, pb: number) => `
from buildbot.plugins import schedulers, steps, util, worker
c = BuildmasterConfig = {}
names = ['w%d' % n for n in range(${workers})]
c['workers'] = [worker.Worker(name, 'secret', max_builds=${slots}) for name in names]
c['protocols'] = {'pb': {'port': 'tcp:${pb}:interface=127.0.0.1'}}
builders = ${python(builders)}
c['schedulers'] = [schedulers.ForceScheduler(name='force', builderNames=list(builders))]
def factory(texts):
    return util.BuildFactory([steps.ShellCommand(name='s%d' % n, command=text) for n, text in enumerate(texts)])
c['builders'] = [util.BuilderConfig(name=name, workernames=names, factory=factory(texts))
                 for name, texts in builders.items()]
c['db'] = {'db_url': 'sqlite:///state.sqlite'}
c['www'] = {'port': 'tcp:${web}:interface=127.0.0.1', 'plugins': {}}
c['buildbotNetUsageData'] = None
c['collapseRequests'] = False
`;

interface Build {
  buildid: number;
  complete: boolean;
  results: number;
}

export const hasBuildbot = () =>
  existsSync('/usr/bin/buildbot') && existsSync('/usr/bin/buildbot-worker');

export const NO_BUILDBOT =
  'Buildbot is not installed here (Debian: apt-get install buildbot buildbot-worker), so there is nothing to compare with';

/**
 * Debian's Buildbot: a master and its workers, a process each, SQLite as it comes, its REST interface and its
 * WebSocket, which tells of ends as soon as there are any.
 */
export class Buildbot {
  readonly #ends = new Map<number, Deferred<number>>();
  readonly #builders = new Map<string, number>();
  #socket: WebSocket | undefined;

  private constructor(
    readonly dir: string,
    readonly url: string,
    readonly programs: readonly Program[],
  ) {}

  static async start(options: BuildbotOptions): Promise<Buildbot> {
    const dir = await mkdtemp(join(tmpdir(), 'impgem-buildbot-'));
    const [web, pb] = [await freePort(), await freePort()];
    for (const [path, text] of Object.entries(STUB)) {
      await mkdir(join(dir, path, '..'), { recursive: true });
      await writeFile(join(dir, path), text);
    }
    const env = { PYTHONPATH: dir };
    const make = (program: string, args: string[]) =>
      execute(program, args, { env: { ...process.env, ...env } });
    await make('buildbot', ['create-master', '--quiet', join(dir, 'master')]);
    await writeFile(join(dir, 'master/master.cfg'), masterConfig(options, web, pb));
    const workers = Array.from({ length: options.workers }, (_, n) => `w${n}`);
    const address = `127.0.0.1:${pb}`;
    for (const name of workers) {
      const args = ['create-worker', '--quiet', join(dir, name), address, name, 'secret'];
      await make('buildbot-worker', args);
    }
    const start = (name: string, program: string) =>
      new Program(`buildbot ${name}`, [program, 'start', '--nodaemon', join(dir, name)], env);
    const buildbot = new Buildbot(dir, `http://127.0.0.1:${web}`, [
      start('master', 'buildbot'),
      ...workers.map((name) => start(name, 'buildbot-worker')),
    ]);
    try {
      await eventually(() => buildbot.#isReady(options.workers), {
        what: 'buildbot',
        saw: () => buildbot.told(),
      });
      await buildbot.#listen();
      return buildbot;
    } catch (error) {
      await buildbot.stop();
      throw error;
    }
  }

  told(): string {
    return this.programs.map(({ output }) => output.slice(-2_000)).join('\n');
  }

  /** Triggers one build (one POST); resolves when the news of its end has come. */
  async run(builder: string): Promise<{ request: number; ended: number }> {
    const request = await this.#trigger(builder);
    return { request, ended: await this.#end(request).promise };
  }

  /** Runs `count` builds, `lanes` at once: each lane triggers the next when its last has ended. */
  async inFlight(builder: string, count: number, lanes: number): Promise<number[]> {
    const done: number[] = [];
    let left = count;
    const lane = async () => {
      while (left-- > 0) done.push((await this.run(builder)).request);
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return done;
  }

  /** A build counts when its rows are there, it succeeded, and its log is what the step printed. */
  async check(
    requests: readonly number[],
    { steps, log, bytes = 0 }: BuildbotExpected,
  ): Promise<void> {
    for (const request of requests) {
      const { builds } = await this.#get<{ builds: Build[] }>(`/buildrequests/${request}/builds`);
      const build = builds.at(-1);
      const told = await this.#get<{ steps: { results: number }[] }>(
        `/builds/${build?.buildid}/steps`,
      );
      // it has made a step of its own before them
      const done = told.steps.slice(1).filter(({ results }) => results === 0).length;
      const answer = await fetch(
        `${this.url}/api/v2/builds/${build?.buildid}/steps/1/logs/stdio/raw`,
      );
      const text = await answer.text();
      const whole = text.length >= bytes && text.includes(log);
      if (!build?.complete || build.results !== 0 || done < steps || !whole) {
        throw new Error(
          `buildbot: request ${request}: ${JSON.stringify(build)}, ${done} steps, ${text.length} bytes of log: ${text.slice(0, 200)}`,
        );
      }
    }
  }

  async stop(): Promise<void> {
    this.#socket?.terminate();
    const [master, ...workers] = this.programs;
    await Promise.allSettled([...workers, master].map((program) => program?.stop()));
    await rm(this.dir, { recursive: true, force: true });
  }

  async #trigger(builder: string): Promise<number> {
    const builderid = this.#builders.get(builder);
    const answer = await fetch(`${this.url}/api/v2/forceschedulers/force`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id: 1, jsonrpc: '2.0', method: 'force', params: { builderid } }),
    });
    const { result } = (await answer.json()) as { result: [number, Record<string, number>] };
    const id = Object.values(result[1])[0];
    if (id === undefined) throw new Error('buildbot did not take the request');
    return id;
  }

  #end(request: number): Deferred<number> {
    const known = this.#ends.get(request) ?? deferred<number>();
    this.#ends.set(request, known);
    return known;
  }

  async #listen(): Promise<void> {
    const socket = (this.#socket = new WebSocket(`${this.url.replace('http', 'ws')}/ws`));
    await once(socket, 'open');
    await new Promise<void>((resolve, reject) => {
      socket.once('close', () => reject(new Error(`buildbot closed its socket:\n${this.told()}`)));
      socket.on('message', (bytes: Buffer) => {
        const { k, m, msg } = JSON.parse(bytes.toString()) as {
          k?: string;
          m?: { buildrequestid: number };
          msg?: string;
        };
        if (msg === 'OK') resolve();
        else if (m && k?.endsWith('/complete'))
          this.#end(m.buildrequestid).resolve(performance.now());
      });
      socket.send('{"cmd":"startConsuming","path":"buildrequests/*/complete","_id":1}');
    });
  }

  async #isReady(workers: number): Promise<boolean> {
    const [master] = this.programs;
    if (master?.exitCode !== null) throw new Error(`buildbot ended:\n${this.told()}`);
    try {
      const found = await this.#get<{ workers: { connected_to: unknown[] }[] }>('/workers');
      const { builders } = await this.#get<{ builders: { builderid: number; name: string }[] }>(
        '/builders',
      );
      for (const { name, builderid } of builders) this.#builders.set(name, builderid);
      const connected = found.workers.filter(({ connected_to }) => connected_to.length > 0);
      return connected.length === workers && builders.length > 0;
    } catch {
      return false;
    }
  }

  async #get<T>(path: string): Promise<T> {
    return (await (await fetch(`${this.url}/api/v2${path}`)).json()) as T;
  }
}

/** Starts a Buildbot where one is installed. */
export async function withBuildbot<T>(
  options: BuildbotOptions,
  use: (buildbot: Buildbot | undefined) => Promise<T>,
): Promise<T> {
  if (!hasBuildbot()) {
    console.error(NO_BUILDBOT);
    return use(undefined);
  }
  const buildbot = await Buildbot.start(options);
  return withEnd(
    () => buildbot.stop(),
    () => use(buildbot),
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
