import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { every, type Artifact, type Build, type Client } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { Option, type Command } from 'commander';
import { connection, titleOf, type Cli, type Connection } from '../cli.js';
import { DEFAULT_DATA, DEFAULT_PORT, inherited, quickstartImage } from '../config.js';
import { download } from '../download.js';
import { EXIT, exitOfResult, Interrupted, UsageError } from '../exit-codes.js';
import { size } from '../terminal.js';
import { Child } from '../up/child.js';
import { FarmFolder } from '../up/farm-folder.js';
import { choosePort } from '../up/port.js';
import { programOf } from '../programs.js';
import { prepareQuickstart, QUICKSTART } from '../up/quickstart.js';
import { watchRequest } from '../watch/watch-build.js';
import { viewFor } from '../watch/view-for.js';

interface Options {
  once?: boolean;
  executor: 'docker' | 'host';
  data: string;
  port?: string;
}

/** A first start makes a database, and on a busy machine that takes a while. */
const MASTER_MS = 120_000;
/** A first start may make an image in the engine. */
const WORKER_MS = 120_000;
const WORKER = 'local';

type Named = Pick<Build, 'id' | 'builder' | 'number'>;

export function addUp(program: Command, cli: Cli): void {
  program
    .command('up')
    .description('all in one: database, master, one worker and the quick start, until Ctrl-C')
    .option('--once', "end after the quick start's build, with its exit code")
    .addOption(
      new Option('--executor <name>', 'where steps run; host: as this user, without isolation')
        .choices(['docker', 'host'])
        .default('docker'),
    )
    .option('--data <folder>', 'where everything is kept', DEFAULT_DATA)
    .option(
      '--port <number>',
      `of the master; the first free one from ${DEFAULT_PORT} on when left out`,
    )
    .action(async (options: Options, command: Command) => {
      const named = command.getOptionValueSource('data') !== 'default';
      const folder = new FarmFolder(resolve(options.data), named);
      const json = command.optsWithGlobals<{ json?: boolean }>().json === true;
      await new Up(cli, folder, options, json).run();
    });
}

/** Starts the programs, shows the quick start, and stops in the end what it started, whatever happened. */
class Up {
  readonly #children: Child[] = [];
  constructor(
    readonly cli: Cli,
    readonly folder: FarmFolder,
    readonly options: Options,
    readonly json: boolean,
  ) {}

  async run(): Promise<void> {
    const { say, talk } = this.cli.terminal;
    await this.folder.claim(say);
    try {
      const to = await this.#startMaster();
      await this.#startWorker(to);
      const code = await this.#quickstart(to);
      if (this.options.once) return this.cli.exit(code);
      this.#invite(to);
      await this.#stay();
    } finally {
      if (this.#children.length > 0) say(talk.dim('stopping …'));
      // The worker first: it gives back what it holds to a master that still listens.
      for (const child of this.#children.toReversed()) await child.stop();
      this.folder.release();
    }
  }

  async #startMaster(): Promise<Connection> {
    const { terminal, signal } = this.cli;
    const { port: asked } = this.options;
    if (asked !== undefined && !/^\d{1,5}$/.test(asked))
      throw new UsageError(`--port is a number, not ${asked}`);
    const host = inherited().IMPGEM_HOST ?? '127.0.0.1';
    const port = await choosePort(
      host,
      asked === undefined ? undefined : Number(asked),
      DEFAULT_PORT,
    );
    if (asked === undefined && port !== DEFAULT_PORT)
      terminal.say(`port ${DEFAULT_PORT} is taken; using ${port}`);
    terminal.say(terminal.talk.dim('starting database and master …'));
    const master = this.#start('master', {
      IMPGEM_DATA: this.folder.at('master'),
      IMPGEM_PORT: String(port),
      IMPGEM_HOST: host,
    });
    const url = await master.waitFor('listening', { line: urlIn }, { ms: MASTER_MS, signal });
    this.#remember(url);
    const token = readFileSync(this.folder.at('master', 'admin-token'), 'utf8').trim();
    return connection({ url, token, from: this.folder.at('master', 'admin-token') }, this.json);
  }

  async #startWorker({ client, target }: Connection): Promise<void> {
    const { terminal, signal } = this.cli;
    const { executor } = this.options;
    terminal.say(terminal.talk.dim(`starting a worker (${executor}) …`));
    const known = await findWorker(client);
    const registration = known ? undefined : await client.registrationTokens.create();
    const worker = this.#start('worker', {
      IMPGEM_MASTER_URL: target.url,
      IMPGEM_WORKER_NAME: WORKER,
      IMPGEM_WORKER_DATA: this.folder.at('worker'),
      IMPGEM_EXECUTOR: executor,
      IMPGEM_ALLOW_HOST_EXECUTOR: executor === 'host' ? '1' : undefined,
      // The quick start's repository lies in the data folder.
      IMPGEM_ALLOW_LOCAL_SOURCES: '1',
      IMPGEM_REGISTRATION_TOKEN: registration?.token,
    });
    this.#remember(target.url);
    const poll = async () => {
      const found = await findWorker(client);
      if (found?.lowDisk)
        throw new FarmError('low-disk', `the worker takes no work: ${found.lowDisk}`);
      return found?.state === 'online' ? true : undefined;
    };
    await worker.waitFor('online', { poll }, { ms: WORKER_MS, signal });
  }

  /** Builds it and shows it; answers the exit code. */
  async #quickstart(to: Connection): Promise<number> {
    const { terminal, signal } = this.cli;
    const { client } = to;
    const repository = this.folder.at('quickstart.git');
    if (!(await prepareQuickstart(client, repository, quickstartImage()))) {
      terminal.say(`the farm file in force has no builder ${QUICKSTART}; nothing is built`);
      return EXIT.ok.code;
    }
    const request = await client.requests.submit({ builder: QUICKSTART, reason: 'impgem up' });
    const live = to.live();
    try {
      const view = viewFor(terminal, this.json);
      const result = await watchRequest({ client, live, view, signal }, request.id);
      await this.#tellArtifacts(to, request.id);
      return EXIT[exitOfResult(result)].code;
    } finally {
      live.close();
    }
  }

  async #tellArtifacts({ client, target }: Connection, request: number): Promise<void> {
    const { say, talk } = this.cli.terminal;
    const build = (await client.requests.get(request)).builds.at(-1);
    if (!build) return;
    const { artifacts, ...detail } = await client.builds.get(build.id);
    for (const { path, size: bytes, sha256 } of artifacts)
      say(`${talk.bold(path)} ${size(bytes)} ${talk.dim(`sha256 ${sha256}`)}`);
    if (artifacts.length === 0) return;
    if (this.options.once) return this.#keep(client, detail, artifacts);
    say(`fetch ${artifacts.length === 1 ? 'it' : 'them'}, while the farm runs, with`);
    say(`  npx impgem artifacts ${build.id} --download . ${this.#flags(target.url)}`.trimEnd());
    say(talk.dim(`  (${titleOf(detail)}: ${target.url}/builds/${build.id})`));
  }

  /** The farm is about to stop, so they are fetched now. */
  async #keep(client: Client, build: Named, artifacts: Artifact[]): Promise<void> {
    const { terminal, signal } = this.cli;
    const to = this.folder.at('artifacts', `${build.builder}-${build.number}`);
    for (const artifact of artifacts)
      await download(client, build.id, artifact, to, { signal, onBytes: () => {} });
    terminal.say(`fetched into ${to}, each with the right SHA-256`);
  }

  #invite({ target }: Connection): void {
    const { say, talk } = this.cli.terminal;
    say('');
    say(`the farm runs at ${talk.bold(target.url)}`);
    say(`sign in there with the token in ${target.from}`);
    say(talk.dim('Ctrl-C stops it'));
  }

  /** Until Ctrl-C, or until one of the programs ends by itself. */
  async #stay(): Promise<void> {
    const { signal } = this.cli;
    const stopped = new Promise<void>((done) => {
      if (signal.aborted) done();
      signal.addEventListener('abort', () => done());
    });
    const ended = this.#children.map(async (child) => {
      await child.exited;
      if (!signal.aborted) throw child.failed(`ended by itself (${child.end})`);
    });
    await Promise.race([stopped, ...ended]);
    for (const end of ended) end.catch(() => {});
    if (signal.aborted) return;
    throw new Interrupted('interrupted');
  }

  #start(app: 'master' | 'worker', env: Record<string, string | undefined>): Child {
    if (this.cli.signal.aborted) throw new Interrupted('interrupted');
    const child = new Child(app, programOf(app), env, this.folder.at('logs', `${app}.log`));
    this.#children.push(child);
    this.#remember('');
    return child;
  }

  /** So that a next start finds what a killed one has left. */
  #remember(url: string): void {
    const programs = this.#children.flatMap(({ pid, name }) =>
      pid === undefined ? [] : [{ pid, file: programOf(name as 'master' | 'worker') }],
    );
    this.folder.write({ url, programs });
  }

  /** In the folder where the farm was started, other commands find it by themselves. */
  #flags(url: string): string {
    return this.folder.path === resolve(DEFAULT_DATA)
      ? ''
      : `--url ${url} --token "$(cat ${this.folder.at('master', 'admin-token')})"`;
  }
}

async function findWorker(client: Client) {
  for await (const worker of every((after) =>
    client.workers.list(after === undefined ? {} : { after }),
  ))
    if (worker.name === WORKER && worker.state !== 'revoked') return worker;
  return undefined;
}

/** From the log line `{"msg":"listening","url":"http://…"}`. */
function urlIn(line: string): string | undefined {
  try {
    const { msg, url } = JSON.parse(line) as { msg?: string; url?: string };
    return msg === 'listening' ? url : undefined;
  } catch {
    return undefined;
  }
}
