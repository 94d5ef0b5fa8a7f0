import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { every, UnreachableError, type Artifact, type Build, type Client } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { Option, type Command } from 'commander';
import { wholeNumber } from '../arguments.js';
import { connection, titleOf, type Cli, type Connection } from '../cli.js';
import { DEFAULT_DATA, DEFAULT_PORT, inherited, quickstartImage } from '../config.js';
import { Downloads } from '../download.js';
import { EXIT, exitOfResult } from '../exit-codes.js';
import { size } from '../terminal.js';
import { Child } from '../up/child.js';
import { FarmFolder } from '../up/farm-folder.js';
import { Kept } from '../up/kept.js';
import { stopOrphanedDatabase } from '../up/orphaned-database.js';
import { choosePort } from '../up/port.js';
import { ownCommand, programOf } from '../programs.js';
import { prepareQuickstart, QUICKSTART } from '../up/quickstart.js';
import { watchRequest } from '../watch/watch-build.js';
import { viewFor } from '../watch/view-for.js';

interface Options {
  once?: boolean;
  executor: 'docker' | 'host';
  data: string;
  port?: number;
}

/**
 * How long a program may take until it is up: a first start makes a database, and perhaps an image in the engine, which
 * takes minutes on a slow machine. Who does not want to wait presses Ctrl-C.
 */
const PATIENCE_MS = 600_000;
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
      wholeNumber(0, 65_535),
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
  readonly #kept: Kept[] = [];
  #url = '';
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
      if (this.#kept.length > 0) say(talk.dim('stopping …'));
      // The worker first: it gives back what it holds to a master that still listens.
      for (const program of this.#kept.toReversed()) await program.stop();
      await this.#stopDatabase();
      this.folder.release();
    }
  }

  async #startMaster(): Promise<Connection> {
    const { terminal, signal } = this.cli;
    const host = inherited().IMPGEM_HOST ?? '127.0.0.1';
    let port = await this.#choosePort(host);
    terminal.say(terminal.talk.dim('starting database and master …'));
    const master = this.#keep({
      name: 'master',
      start: () => {
        const data = this.folder.at('master');
        const env = { IMPGEM_DATA: data, IMPGEM_PORT: port, IMPGEM_HOST: host };
        return this.#start('master', env, tellDatabase(terminal.say));
      },
      up: async (child, ended) => {
        this.#url = await child.waitFor(
          'listening',
          { line: urlIn },
          { ms: PATIENCE_MS, signal: ended },
        );
        // The same one again, so that worker and viewers find it.
        port = new URL(this.#url).port || port;
        this.#remember();
      },
    });
    await master.begin(signal);
    const token = readFileSync(this.folder.at('master', 'admin-token'), 'utf8').trim();
    return connection(
      { url: this.#url, token, from: this.folder.at('master', 'admin-token') },
      this.json,
      signal,
    );
  }

  async #choosePort(host: string): Promise<string> {
    const { terminal } = this.cli;
    const { port: asked } = this.options;
    const port = await choosePort(host, asked, DEFAULT_PORT);
    if (asked === undefined && port !== DEFAULT_PORT)
      terminal.say(`port ${DEFAULT_PORT} is taken; using ${port}`);
    return String(port);
  }

  async #startWorker({ client, target }: Connection): Promise<void> {
    const { terminal, signal } = this.cli;
    const { executor } = this.options;
    terminal.say(terminal.talk.dim(`starting a worker (${executor}) …`));
    const known = await findWorker(client);
    let registration = known
      ? undefined
      : await client.registrationTokens.create({ names: [WORKER] });
    const online = async (isFirst: boolean) => {
      const found = await findWorker(client).catch((error: unknown) => {
        if (isFirst) throw error;
        return undefined;
      });
      if (isFirst && found?.lowDisk)
        throw new FarmError('low-disk', `the worker takes no work: ${found.lowDisk}`);
      // One in quarantine has come up, and is given builds again later.
      return found?.state === 'online' || found?.state === 'quarantined' ? true : undefined;
    };
    const worker = this.#keep({
      name: 'worker',
      start: () =>
        this.#start('worker', {
          IMPGEM_MASTER_URL: target.url,
          IMPGEM_WORKER_NAME: WORKER,
          IMPGEM_WORKER_DATA: this.folder.at('worker'),
          IMPGEM_EXECUTOR: executor,
          IMPGEM_ALLOW_HOST_EXECUTOR: executor === 'host' ? '1' : undefined,
          // The quick start's repository lies in the data folder.
          IMPGEM_ALLOW_LOCAL_SOURCES: '1',
          IMPGEM_REGISTRATION_TOKEN: registration?.token,
        }),
      up: async (child, ended, isFirst) => {
        // The master may not know yet that the one before has ended.
        if (!isFirst)
          await child.waitFor('ready', { line: readyIn }, { ms: PATIENCE_MS, signal: ended });
        const poll = () => online(isFirst);
        await child.waitFor('online', { poll }, { ms: PATIENCE_MS, signal: ended });
        registration = undefined;
        this.#remember();
      },
    });
    await worker.begin(signal);
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
    } catch (error) {
      // The farm stays: its master comes back, and the build with it.
      const goesOn = error instanceof UnreachableError && !this.options.once && !signal.aborted;
      if (!goesOn) throw error;
      terminal.say(`${error.message}; the build is not shown any more`);
      return EXIT.unreachable.code;
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
    if (this.options.once) return this.#fetch(client, detail, artifacts);
    say(`fetch ${artifacts.length === 1 ? 'it' : 'them'}, while the farm runs, with`);
    say(
      `  ${ownCommand()} artifacts ${build.id} --download . ${this.#flags(target.url)}`.trimEnd(),
    );
    say(talk.dim(`  (${titleOf(detail)}: ${target.url}/builds/${build.id})`));
  }

  /** The farm is about to stop, so they are fetched now. */
  async #fetch(client: Client, build: Named, artifacts: Artifact[]): Promise<void> {
    const { terminal, signal } = this.cli;
    const to = this.folder.at('artifacts', `${build.builder}-${build.number}`);
    // The folder is the farm's own: what another run left there is replaced.
    const downloads = new Downloads(client, build.id, to, { signal, force: true });
    for (const artifact of artifacts) await downloads.fetch(artifact);
    terminal.say(`fetched into ${to}, each with the right SHA-256`);
  }

  #invite({ target }: Connection): void {
    const { say, talk } = this.cli.terminal;
    say('');
    say(`the farm runs at ${talk.bold(target.url)}`);
    say(`sign in there with the token in ${target.from}`);
    say(talk.dim('Ctrl-C stops it'));
  }

  /** Until Ctrl-C. */
  async #stay(): Promise<void> {
    const { signal } = this.cli;
    if (signal.aborted) return;
    await new Promise<void>((stopped) => {
      signal.addEventListener('abort', () => stopped(), { once: true });
    });
  }

  #keep(parts: Omit<ConstructorParameters<typeof Kept>[0], 'say'>): Kept {
    const program = new Kept({ ...parts, say: this.cli.terminal.say });
    this.#kept.push(program);
    return program;
  }

  #start(
    app: 'master' | 'worker',
    env: Record<string, string | undefined>,
    onLine: (line: string) => void = () => {},
  ): Child {
    const child = new Child(app, programOf(app), env, this.folder.at('logs', `${app}.log`));
    child.onLine = onLine;
    this.#remember(child);
    return child;
  }

  /** So that a next start finds what a killed one has left. */
  #remember(started?: Child): void {
    const running = [
      ...this.#kept.flatMap(({ child }) => child ?? []),
      ...(started ? [started] : []),
    ];
    const programs = running.flatMap(({ pid, name }) =>
      pid === undefined ? [] : [{ pid, file: programOf(name as 'master' | 'worker') }],
    );
    this.folder.write({ url: this.#url, programs });
  }

  /** A master that ended in good order has stopped its database, or left it to another master. */
  async #stopDatabase(): Promise<void> {
    const { child } = this.#kept[0] ?? {};
    if (!child || child.end === 'exit code 0') return;
    const pid = await stopOrphanedDatabase(this.folder.at('master', 'postgres', 'data'));
    if (pid !== undefined)
      this.cli.terminal.say(`stopped the database (pid ${pid}), which its master had left running`);
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
const urlIn = (line: string): string | undefined => {
  const { msg, url } = logged(line);
  return msg === 'listening' ? url : undefined;
};

/** From the worker's. */
const readyIn = (line: string): true | undefined =>
  logged(line).msg === 'ready' ? true : undefined;

/** The master looks after its database; what it does there is said. */
function tellDatabase(say: (line: string) => void): (line: string) => void {
  let hasDied = false;
  return (line) => {
    const { msg } = logged(line);
    if (msg === 'the database has died; starting it again')
      say('the database ended by itself; the master starts it again');
    else if (hasDied && msg === 'database started') say('the database is up again');
    hasDied ||= msg === 'the database has died; starting it again';
  };
}

function logged(line: string): { msg?: string; url?: string } {
  try {
    return (JSON.parse(line) ?? {}) as { msg?: string; url?: string };
  } catch {
    return {};
  }
}
