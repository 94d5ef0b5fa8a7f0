import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, Program } from '@impgem/e2e';

const execute = promisify(execFile);
const SLOTS = 2;

/** Debian's Buildbot needs the package of its web page to serve its REST interface; this stands in for the page. */
const STUB = {
  'buildbot_www/__init__.py':
    'from buildbot.www.plugin import Application\nep = Application(__name__, "stub")\n',
  'buildbot_www/VERSION': '0\n',
  'buildbot_www/static/index.html': '<!doctype html>\n',
  'buildbot_www-0.egg-info/PKG-INFO': 'Metadata-Version: 1.0\nName: buildbot-www\nVersion: 0\n',
  'buildbot_www-0.egg-info/entry_points.txt': '[buildbot.www]\nbase = buildbot_www:ep\n',
};

const masterConfig = (web: number, pb: number) => `
from buildbot.plugins import schedulers, steps, util, worker
c = BuildmasterConfig = {}
c['workers'] = [worker.Worker('w', 'secret', max_builds=${SLOTS})]
c['protocols'] = {'pb': {'port': 'tcp:${pb}:interface=127.0.0.1'}}
c['schedulers'] = [schedulers.ForceScheduler(name='force', builderNames=['one'])]
factory = util.BuildFactory([steps.ShellCommand(name='one', command=['sh', '-c', 'echo hello'])])
c['builders'] = [util.BuilderConfig(name='one', workernames=['w'], factory=factory)]
c['db'] = {'db_url': 'sqlite:///state.sqlite'}
c['www'] = {'port': 'tcp:${web}:interface=127.0.0.1', 'plugins': {}}
c['buildbotNetUsageData'] = None
c['collapseRequests'] = False
`;

interface Build {
  buildid: number;
  buildrequestid: number;
  complete: boolean;
  results: number;
}

export const hasBuildbot = () =>
  existsSync('/usr/bin/buildbot') && existsSync('/usr/bin/buildbot-worker');

/** Debian's Buildbot: master and worker as two processes, SQLite, its REST interface. */
export class Buildbot {
  private constructor(
    readonly dir: string,
    readonly url: string,
    readonly master: Program,
    readonly worker: Program,
  ) {}

  static async start(): Promise<Buildbot> {
    const dir = await mkdtemp(join(tmpdir(), 'impgem-buildbot-'));
    const [web, pb] = [await freePort(), await freePort()];
    for (const [path, text] of Object.entries(STUB)) {
      await mkdir(join(dir, path, '..'), { recursive: true });
      await writeFile(join(dir, path), text);
    }
    const env = { PYTHONPATH: dir };
    const options = { env: { ...process.env, ...env } };
    await execute('buildbot', ['create-master', '--quiet', join(dir, 'master')], options);
    await writeFile(join(dir, 'master/master.cfg'), masterConfig(web, pb));
    const address = `127.0.0.1:${pb}`;
    await execute(
      'buildbot-worker',
      ['create-worker', '--quiet', join(dir, 'worker'), address, 'w', 'secret'],
      options,
    );
    const start = (name: string, program: string) =>
      new Program(`buildbot ${name}`, [program, 'start', '--nodaemon', join(dir, name)], env);
    const buildbot = new Buildbot(
      dir,
      `http://127.0.0.1:${web}/api/v2`,
      start('master', 'buildbot'),
      start('worker', 'buildbot-worker'),
    );
    try {
      await eventually(() => buildbot.#hasWorker(), {
        what: 'buildbot',
        saw: () => buildbot.told(),
      });
      return buildbot;
    } catch (error) {
      await buildbot.stop();
      throw error;
    }
  }

  told(): string {
    return `${this.master.output.slice(-3_000)}\n${this.worker.output.slice(-2_000)}`;
  }

  /** One POST; resolves with the id of the build request. */
  async trigger(): Promise<number> {
    const answer = await fetch(`${this.url}/forceschedulers/force`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ id: 1, jsonrpc: '2.0', method: 'force', params: { builderid: 1 } }),
    });
    const { result } = (await answer.json()) as { result: [number, Record<string, number>] };
    const id = Object.values(result[1])[0];
    if (id === undefined) throw new Error('buildbot did not take the request');
    return id;
  }

  /** Asks until the request is complete; Buildbot's own events come no sooner than its rows. */
  async ended(request: number): Promise<number> {
    for (;;) {
      const { buildrequests } = await this.#get<{ buildrequests: { complete: boolean }[] }>(
        `/buildrequests/${request}?field=complete`,
      );
      if (buildrequests[0]?.complete) return performance.now();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** A build counts when its rows are there, it succeeded, and its log is what the step printed. */
  async check(request: number): Promise<void> {
    const { builds } = await this.#get<{ builds: Build[] }>(`/buildrequests/${request}/builds`);
    const build = builds.at(-1);
    const log = await fetch(`${this.url}/builds/${build?.buildid}/steps/1/logs/stdio/raw`);
    const text = await log.text();
    if (!build?.complete || build.results !== 0 || !text.includes('hello')) {
      throw new Error(
        `buildbot: request ${request}: ${JSON.stringify(build)} ${text.slice(0, 200)}`,
      );
    }
  }

  async stop(): Promise<void> {
    await Promise.allSettled([this.worker.stop(), this.master.stop()]);
    await rm(this.dir, { recursive: true, force: true });
  }

  async #hasWorker(): Promise<boolean> {
    if (this.master.exitCode !== null) throw new Error(`buildbot ended:\n${this.told()}`);
    const answer = await this.#get<{ workers: { connected_to: unknown[] }[] }>('/workers').catch(
      () => undefined,
    );
    return (answer?.workers[0]?.connected_to.length ?? 0) > 0;
  }

  async #get<T>(path: string): Promise<T> {
    return (await (await fetch(this.url + path)).json()) as T;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
