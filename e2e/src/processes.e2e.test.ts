import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildRequest } from '@impgem/client';
import { deferred } from '@impgem/kit';
import { engineObjects, eventually, testEngineHost } from '@impgem/testkit';
import { Farm, startFarm } from './farm.js';
import { Program, ROOT } from './program.js';

const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;
/**
 * Runs a program of the repository as nobody, with the repository at `place`: it may lie in a folder that is closed to
 * others, where no user but its own would start the programs.
 */
const asNobody = (place: string): string[] => {
  const drop = `setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups`;
  const script = `mount --bind "$0" "$1" && shift && exec ${drop} "$@"`;
  return ['unshare', '--mount', 'sh', '-ec', script, ROOT, place];
};

const status = (pid: number) => readFile(`/proc/${pid}/status`, 'utf8');
/** A zombie that nobody has reaped yet is not alive. */
const isAlive = async (pid: number) =>
  !/\) [ZX] /.test(await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => ') X '));

describe('a master with its embedded database', () => {
  let dir = '';
  let master: Program | undefined;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-e2e-'));
  });
  afterEach(async () => {
    await master?.stop();
    master = undefined;
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  /** Starts a master, and tells the process of its database once it is ready. */
  async function start(data: string, root = ROOT, prefix: readonly string[] = []): Promise<number> {
    const command = [process.execPath, join(root, 'apps/master/bundle/main.js')];
    const env = { IMPGEM_DATA: data, IMPGEM_PORT: '0' };
    master = new Program('master', [...prefix, ...command], env);
    const line = await master.line((text) => text.includes('"msg":"listening"'));
    const { url } = JSON.parse(line) as { url: string };
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    const pidFile = await readFile(join(data, 'postgres/data/postmaster.pid'), 'utf8');
    return Number(pidFile.split('\n')[0]);
  }

  it('starts as a plain user, and takes the database down with it', async () => {
    const data = join(dir, 'plain');
    await chmod(dir, 0o755);
    await mkdir(data);
    if (isRoot) await chown(data, NOBODY, NOBODY);
    const place = join(dir, 'repository');
    await mkdir(place);
    const database = await (isRoot ? start(data, place, asNobody(place)) : start(data));
    const me = isRoot ? NOBODY : process.getuid?.();
    expect(await status(database)).toMatch(new RegExp(`^Uid:\\s+${me}\\s`, 'm'));
    expect(await status(master?.pid ?? 0)).toMatch(new RegExp(`^Uid:\\s+${me}\\s`, 'm'));
    expect(await master?.stop()).toBe(0);
    expect(await isAlive(database)).toBe(false);
  });

  it('starts below a folder that is closed to others, also as root', async () => {
    await chmod(dir, 0o700);
    const database = await start(join(dir, 'closed/master'));
    expect(await status(database)).not.toMatch(/^Uid:\s+0\s/m);
    expect(await master?.stop()).toBe(0);
    expect(await isAlive(database)).toBe(false);
  });
});

/** Its step tells its process and waits for a file. */
const farmFile = (dir: string) => `
builders:
  wait:
    steps:
      - name: wait
        run: |
          echo $$ >${dir}/pid
          echo begun
          while [ ! -e ${dir}/go ]; do sleep 0.05; done
          echo went on
`;

describe('a worker that is told to stop while it runs a build', () => {
  let farm: Farm;
  let dir = '';
  let worker: Program;
  let names = 0;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-e2e-'));
    farm = await startFarm({
      executor: 'host',
      workers: 0,
      workerEnv: { IMPGEM_WORKER_SLOTS: '1' },
    });
    await farm.apply(farmFile(dir));
  });
  afterEach(async () => {
    await writeFile(join(dir, 'go'), '');
    for (const one of farm.workers.splice(0)) await one.stop();
    await rm(join(dir, 'go'), { force: true });
    await rm(join(dir, 'pid'), { force: true });
  });
  afterAll(async () => {
    await farm?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  /** A new worker that runs a new build, which waits; answers the request and the step's process. */
  async function running(): Promise<{ request: BuildRequest; step: number; name: string }> {
    const name = `w-${++names}`;
    worker = await farm.addWorker(name);
    const request = await farm.request('wait');
    const text = await eventually(
      () =>
        readFile(join(dir, 'pid'), 'utf8').then(
          (read) => (read.endsWith('\n') ? read : undefined),
          () => undefined,
        ),
      { what: 'the step of the build', saw: () => farm.told() },
    );
    return { request, step: Number(text), name };
  }

  it('finishes it after one SIGTERM, takes nothing new, and ends with 0', async () => {
    const { request, name } = await running();
    worker.kill('SIGTERM');
    await farm.untilWorker(name, 'draining');
    const next = await farm.request('wait');
    await writeFile(join(dir, 'go'), '');
    expect(await worker.ended()).toBe(0);
    const build = await farm.untilBuild(request.id);
    expect(build).toMatchObject({ result: 'success', attempt: 1, worker: name });
    expect(await farm.logOf(build, 'wait')).toContain('begun\nwent on\n');
    const waiting = await farm.api<BuildRequest>('GET', `/build-requests/${next.id}`);
    expect(waiting).toMatchObject({ state: 'pending', builds: [] });
    await farm.api('POST', `/build-requests/${next.id}/cancel`, {});
  });

  it('gives it to another worker after a second SIGTERM, and leaves no process', async () => {
    const { request, step, name } = await running();
    worker.kill('SIGTERM');
    await farm.untilWorker(name, 'draining');
    worker.kill('SIGTERM');
    await worker.ended();
    expect(await isAlive(step)).toBe(false);
    await writeFile(join(dir, 'go'), '');
    const heir = `w-${++names}`;
    await farm.addWorker(heir);
    const build = await farm.untilBuild(request.id);
    expect(build).toMatchObject({ result: 'success', attempt: 2, worker: heir });
    const [first] = (await farm.api<BuildRequest>('GET', `/build-requests/${request.id}`)).builds;
    expect(first).toMatchObject({ state: 'finished', result: 'retry' });
  });

  it('is cut off at once when it is revoked, ends its step, and another builds', async () => {
    const { request, step, name } = await running();
    await farm.api('DELETE', `/workers/${name}`);
    expect(await worker.ended()).toBe(3);
    expect(worker.output).toContain('IMPGEM_REGISTRATION_TOKEN');
    expect(await isAlive(step)).toBe(false);
    await writeFile(join(dir, 'go'), '');
    const heir = `w-${++names}`;
    await farm.addWorker(heir);
    const build = await farm.untilBuild(request.id);
    expect(build).toMatchObject({ result: 'success', attempt: 2, worker: heir });
  });

  it('has a log of JSON lines that name the build, as the master has', async () => {
    await writeFile(join(dir, 'go'), '');
    const name = `w-${++names}`;
    worker = await farm.addWorker(name);
    const build = await farm.untilBuild((await farm.request('wait')).id);
    for (const program of [worker, farm.master]) {
      const lines = program.output.split('\n').filter((line) => line !== '');
      const read = lines.map((line) => JSON.parse(line) as { build?: number });
      expect(read.filter((line) => line.build === build.id)).not.toEqual([]);
    }
  });
});

const saying = (word: string) =>
  `builders:\n  say:\n    steps: [{ name: say, run: echo ${word} }]\n`;

/** The engine, which answers no question for volumes (the sweep of a start asks) until it is let. */
class SlowEngine {
  readonly asked = deferred();
  readonly #let = deferred();
  readonly #server = createServer((socket) => {
    const engine = connect(testEngineHost.replace('unix://', ''));
    engine.on('error', () => socket.destroy());
    socket.on('error', () => engine.destroy());
    socket.on('close', () => engine.destroy());
    engine.pipe(socket);
    socket.on('data', (bytes) => {
      if (!bytes.includes('/volumes')) return engine.write(bytes);
      this.asked.resolve();
      return this.#let.promise.then(() => engine.write(bytes));
    });
  });

  async listen(path: string): Promise<void> {
    await once(this.#server.listen(path), 'listening');
  }

  go(): void {
    this.#let.resolve();
  }

  close(): void {
    this.#server.close();
  }
}

describe('a worker that is told to stop while it starts', () => {
  let farm: Farm;
  beforeAll(async () => {
    farm = await startFarm({ workers: 0 });
  });
  afterAll(() => farm?.stop());

  it('takes away what it has made in the engine', async () => {
    const others = await engineObjects({ worker: 'none' });
    const data = join(farm.dataDir, 'early');
    await mkdir(data);
    const engine = new SlowEngine();
    await engine.listen(join(data, 'engine'));
    const worker = new Program(
      'early',
      [process.execPath, join(ROOT, 'apps/worker/bundle/main.js')],
      {
        ...farm.workerEnv('early', await farm.registrationToken()),
        DOCKER_HOST: `unix://${join(data, 'engine')}`,
      },
    );
    await engine.asked.promise;
    const { id } = JSON.parse(await readFile(join(data, 'credential.json'), 'utf8')) as {
      id: string;
    };
    const made = async () => {
      const all = await engineObjects({ worker: id });
      return all.filter((object) => !others.includes(object));
    };
    await eventually(async () => (await made()).length > 0, { what: 'a network of its own' });
    worker.kill('SIGTERM');
    await worker.line((line) => line.includes('drains'));
    engine.go();
    expect(await worker.ended()).toBe(0);
    engine.close();
    expect(await made()).toEqual([]);
  });
});

describe('a build', () => {
  it('shows the definition that it ran with after the farm file has changed', async () => {
    const farm = await startFarm({ executor: 'host' });
    try {
      const first = await farm.build(saying('before'), 'say');
      await farm.apply(saying('after'));
      const second = await farm.untilBuild((await farm.request('say')).id);
      const shown = await farm.api<typeof first>('GET', `/builds/${first.id}`);
      expect(shown.farmVersion).toBe(first.farmVersion);
      expect(second.farmVersion).toBeGreaterThan(first.farmVersion);
      expect(JSON.stringify(shown.plan)).toContain('echo before');
      expect(JSON.stringify(second.plan)).toContain('echo after');
    } finally {
      await farm.stop();
    }
  });
});

/** Its step counts aloud, and waits for a file after each of three parts. */
const counting = (dir: string) => `
builders:
  count:
    steps:
      - name: count
        run: |
          for part in 1 2 3; do
            for i in $(seq 1 2000); do echo "part $part line $i"; done
            while [ ! -e ${dir}/go-$part ]; do sleep 0.05; done
          done
`;

const linesOf = (part: number) =>
  Array.from({ length: 2000 }, (_, i) => `part ${part} line ${i + 1}\n`).join('');

describe('impgem up', () => {
  let dir = '';
  let up: Program;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-e2e-'));
    const command = ['apps/cli/bundle/main.js', 'up', '--executor', 'host', '--port', '0'];
    up = new Program(
      'impgem up',
      [process.execPath, ...command.map((word, i) => (i === 0 ? join(ROOT, word) : word))],
      {},
      dir,
    );
  });
  afterAll(async () => {
    await up?.stop().catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
  });

  it('starts again what is killed under a build, which ends at its first attempt with every byte', async () => {
    const url = /the farm runs at (\S+)/.exec(
      await up.line((line) => line.includes('the farm runs at')),
    )?.[1];
    const farm = new Farm(dir, {});
    farm.url = url ?? '';
    farm.token = (await readFile(join(dir, '.impgem/master/admin-token'), 'utf8')).trim();
    await farm.apply(counting(dir));
    const { id } = await farm.request('count');
    const first = await farm.untilBuild(id, ['running']);

    /** Kills what runs by the record of `up`, lets the step go on, and waits until `up` says that it is there again. */
    const kill = async (name: 'master' | 'worker', part: number) => {
      const lines = `part ${part} line 2000\n`;
      await eventually(async () => (await farm.log(first.id, 0)).includes(lines), {
        what: `part ${part} of the log`,
        saw: () => up.output,
      });
      const { programs } = JSON.parse(await readFile(join(dir, '.impgem/up.json'), 'utf8')) as {
        programs: { pid: number; file: string }[];
      };
      process.kill(programs.find(({ file }) => file.includes(name))?.pid ?? 0, 'SIGKILL');
      await up.line((line) => line.includes(`the ${name} ended by itself (SIGKILL)`));
      await writeFile(join(dir, `go-${part}`), '');
      await up.line((line) => line.includes(`the ${name} is up again`));
    };
    await kill('master', 1);
    await kill('worker', 2);
    await writeFile(join(dir, 'go-3'), '');
    const build = await farm.untilBuild(id);
    expect(build).toMatchObject({ id: first.id, result: 'success', attempt: 1 });
    const log = (await farm.log(build.id, 0, '?stream=stdout')).toString();
    expect(log).toBe([1, 2, 3].map(linesOf).join(''));
  });

  it('leaves no process when it is stopped while its master is away', async () => {
    const data = join(dir, '.impgem');
    const { programs } = JSON.parse(await readFile(join(data, 'up.json'), 'utf8')) as {
      programs: { pid: number; file: string }[];
    };
    const file = await readFile(join(data, 'master/postgres/data/postmaster.pid'), 'utf8');
    const database = Number(file.split('\n')[0]);
    process.kill(programs.find(({ file: of }) => of.includes('master'))?.pid ?? 0, 'SIGKILL');
    const said = () => up.output.split('the master ended by itself').length;
    await eventually(() => said() === 3, { what: 'the word of its end', saw: () => up.output });
    await up.stop();
    for (const pid of [database, ...programs.map((program) => program.pid)])
      expect(await isAlive(pid)).toBe(false);
  });
});

describe('the command line', () => {
  it.each([
    ['exit-codes >/dev/full', 5, /^error: standard output cannot be written: ENOSPC.*\n {2}.*\n$/],
    ['exit-codes | true; exit "${PIPESTATUS[0]}"', 0, /^$/],
    ['exit-codes >&-', 0, /^$/],
  ])('ends in a line, not in a stack, with its output at %s', async (line, code, said) => {
    const impgem = `${process.execPath} apps/cli/bundle/main.js`;
    const shell = new Program('impgem', ['bash', '-c', `${impgem} ${line}`], {});
    expect(await shell.ended()).toBe(code);
    expect(shell.output).toMatch(said);
  });
});
