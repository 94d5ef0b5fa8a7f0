import { afterAll, describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { createHash, randomUUID } from 'node:crypto';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeExecutor } from './contract.js';
import { shell } from './contract/shell.js';
import { Audience, Stage, until } from './contract/stage.js';
import { heirOf, launchAndDie, take, type Left } from './contract/take-up.js';
import type { Subject } from './contract.js';
import type { Identity, WorkspaceFile } from './executor.js';
import { HostExecutor } from './host/host-executor.js';
import type { HostWorkspace } from './host/host-workspace.js';

const root = mkdtempSync(join(tmpdir(), 'impgem-host-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const markOf = ({ farm, worker }: Identity): string =>
  createHash('sha256').update(`${farm}/${worker}`).digest('hex').slice(0, 12);

/** Folders and processes. */
async function remains(identity: Identity): Promise<string[]> {
  const folders = readdirSync(root).filter((name) => name.startsWith(markOf(identity)));
  return [...folders, ...processesOf(identity).map((pid) => `process ${pid}`)];
}

/** Of its steps, in no order: numbers begin anew when they have run out. */
function processesOf(identity: Identity): string[] {
  const whose = markOf(identity);
  return readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`=${whose}-`)
      );
    } catch {
      return false;
    }
  });
}

/** What the names of a step's files begin with. */
function filesOf({ identity, ref }: Left): string {
  const [workspace = ''] = readdirSync(root).filter((name) => name.startsWith(markOf(identity)));
  return join(root, workspace, ref);
}

const waitFor = (file: string): string => `while [ ! -e ${file} ]; do sleep 0.02; done`;

const subject: Subject = {
  name: 'host',
  create: () => new HostExecutor(root),
  dialect: { ...shell, unstartable: () => ({ workdir: '../outside' }) },
  step: {},
  // it drops none; long enough for its buffers to fill
  readersWaitMs: 500,
  remains,
};
describeExecutor(subject);

describe('the host executor, beyond the contract', () => {
  const stage = new Stage(subject);
  stage.install();

  it('gives a step nothing of its own environment', async () => {
    const { stdout } = await stage.play('env', { env: { GIVEN: '1' } });
    const names = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(names.toSorted()).toEqual(['GIVEN', 'HOME', 'IMPGEM_STEP', 'PATH', 'PWD']);
  });

  it('tells what it cannot read as that, and passes over sockets', async () => {
    const workspace = await stage.workspace();
    await stage.play(
      `mkdir private plain; : > plain/f; mkfifo plain/p; chmod 000 plain/f private`,
      {},
      workspace,
    );
    const server = createServer().listen(join((workspace as HostWorkspace).work, 'plain/s'));
    await once(server, 'listening');
    const seen = new Map<string, WorkspaceFile>();
    for await (const file of workspace.files()) seen.set(file.path, file);
    server.close();
    expect([...seen.keys()].toSorted()).toEqual(['plain', 'plain/f', 'plain/p', 'private']);
    expect(seen.get('plain/p')?.type).toBe('other');
    const isRoot = process.getuid?.() === 0;
    expect(seen.get('private')?.unreadable ?? false).toBe(!isRoot);
    const reading = workspace.read('plain/f');
    if (isRoot) (await reading).destroy();
    else await expect(reading).rejects.toThrow('may not read it');
    await stage.play('chmod 700 private', {}, workspace);
  });

  it('finds children that left the process group', async () => {
    const audience = new Audience();
    const workspace = await stage.workspace();
    const spec = stage.spec('setsid sleep 300 >/dev/null 2>&1 & echo started; wait');
    const step = await stage.start(workspace, spec, audience.sink);
    await audience.sees('started');
    await step.stop(0);
    const left = await remains(stage.identity);
    expect(left.filter((object) => object.startsWith('process'))).toEqual([]);
  });

  it('says why an environment is too big', async () => {
    const env = { HUGE: 'x'.repeat(200_000) };
    await expect(stage.play('true', { env })).rejects.toMatchObject({
      message: expect.stringContaining('128 KiB'),
    });
  });

  it('lets a step go on that its dead process had kept waiting, and reads it whole', async () => {
    const { run, bytes } = shell.write(40 * 1024 * 1024);
    const behind = deferred();
    const over = deferred();
    let calls = 0;
    const sink = async (): Promise<void> => {
      await (++calls > 1 ? over.promise : behind.promise);
    };
    const left = await launchAndDie(stage, `${run}; while [ ! -e go ]; do sleep 0.05; done`, {
      sink,
    });
    const file = `${filesOf(left)}.stdout`;
    await until('more is on disk than may wait', () => statSync(file).size > 17 * 1024 * 1024);
    behind.resolve();
    let last = 0;
    let looks = 0;
    await until('it does not grow any more', () => {
      const { size } = statSync(file);
      looks = size === last ? looks + 1 : 0;
      last = size;
      return looks > 10;
    });
    await left.dead.leave();
    await heirOf(stage, left, async (heir, workspace) => {
      const { audience, step } = await take(heir, workspace, left);
      const { signal } = new AbortController();
      const order = { sink: () => {}, signal, launching: async () => {} };
      await (
        await heir.start(workspace, stage.spec('touch go'), order)
      ).exited;
      expect(await step?.exited).toEqual({ exitCode: 0 });
      expect(audience.stdout.equals(bytes)).toBe(true);
    });
    over.resolve();
  });

  it('lets another user write to the output that it was given', async () => {
    if (process.getuid?.() !== 0) return;
    const run = `chmod 711 . ..; setpriv --reuid=65534 --clear-groups sh -c 'echo a; echo b >/dev/stdout; echo c >/dev/stderr'`;
    const { exit, stdout, stderr } = await stage.play(run);
    expect([exit, stdout.toString(), stderr.toString()]).toEqual([
      { exitCode: 0 },
      'a\nb\n',
      'c\n',
    ]);
  });

  it('lets a child that left its step go on with a full pipe, and drops what it says', async () => {
    const workspace = await stage.workspace();
    const child = `touch there; ${waitFor('go')}; seq 1 100000; touch done; exec sleep 300`;
    const first = await stage.play(
      `setsid sh -c '${child}' & ${waitFor('there')}; echo main`,
      {},
      workspace,
    );
    expect(first.stdout.toString()).toBe('main\n');
    const second = await stage.play(`touch go; ${waitFor('done')}`, {}, workspace);
    expect(second).toMatchObject({ exit: { exitCode: 0 } });
    expect(second.stdout.length).toBe(0);
  });

  it.each([
    ['cut', ': >'],
    ['written anew, longer', 'seq 1 1000 >'],
  ])('says so when a step finds the file of its output, and it is %s', async (_, how) => {
    const audience = new Audience();
    const run = `seq 1 100; while [ ! -e go ]; do sleep 0.02; done; ${how} ../"$IMPGEM_STEP".stdout; echo end`;
    const workspace = await stage.workspace();
    const step = await stage.start(workspace, stage.spec(run), audience.sink);
    await audience.sees('\n100\n');
    await stage.play('touch go', {}, workspace);
    expect((await step.exited).reason).toMatchObject({
      code: 'worker-error',
      message: expect.stringContaining('its output could not be kept: '),
    });
  });

  it.each(['its own process', 'a later one'])(
    'ends a step whose launcher was killed, in %s',
    async (who) => {
      const seen = new Audience();
      const left = await launchAndDie(stage, shell.wait(), { sink: seen.sink });
      await seen.sees('started');
      const own = who === 'its own process';
      if (!own) await left.dead.leave();
      const [noted] = readFileSync(`${filesOf(left)}.process`, 'utf8').split('\n');
      const { launcher } = JSON.parse(noted ?? '') as { launcher: { pid: number } };
      process.kill(launcher.pid, 'SIGKILL');
      if (own) {
        expect((await left.step?.exited)?.reason).toMatchObject({ code: 'worker-error' });
        expect(processesOf(left.identity)).toEqual([]);
        await left.dead.close();
        return;
      }
      await heirOf(stage, left, async (heir, workspace) => {
        const { step } = await take(heir, workspace, left);
        expect((await step?.exited)?.reason).toMatchObject({ code: 'worker-error' });
        expect(processesOf(left.identity)).toEqual([]);
      });
    },
  );

  it('sweeps on past what cannot be removed, says so, and counts it once', async () => {
    if (process.getuid?.() !== 0) return;
    const identity = { farm: randomUUID(), worker: randomUUID() };
    const dead = new HostExecutor(root);
    await dead.open(identity);
    const folders: string[] = [];
    for (const build of [1, 2]) {
      await dead.createWorkspace({ build, epoch: 1 }, build);
      const name = readdirSync(root).find((one) => one.startsWith(`${markOf(identity)}-${build}-`));
      folders.push(join(root, name ?? '', 'work'));
    }
    await dead.leave();
    const [first = '', second = ''] = folders;
    execFileSync('mount', ['--bind', first, first]);
    const heir = new HostExecutor(root);
    await heir.open(identity);
    try {
      expect(await heir.sweep([])).toEqual({ found: 2, stuck: [expect.stringContaining('EBUSY')] });
      expect([existsSync(first), existsSync(second)]).toEqual([true, false]);
      expect(await heir.sweep([])).toEqual({ found: 0, stuck: [expect.stringContaining('EBUSY')] });
    } finally {
      execFileSync('umount', [first]);
    }
    expect(await heir.sweep([])).toEqual({ found: 0, stuck: [] });
    expect(await remains(identity)).toEqual([]);
    await heir.close();
  });

  it('never signals a process that has got the number of a step', async () => {
    const other = spawn('sleep', ['60'], { detached: true });
    const gone = new Promise<string | null>((resolve) =>
      other.once('exit', (_, signal) => resolve(signal)),
    );
    const left = await launchAndDie(stage, 'sleep 60');
    const [ofStep] = processesOf(left.identity);
    const group = readFileSync(`/proc/${ofStep}/stat`, 'latin1').split(') ')[1]?.split(' ')[2];
    await left.dead.leave();
    const id = JSON.stringify({ pid: other.pid, start: '1' });
    writeFileSync(`${filesOf(left)}.process`, `${id}\n`);
    process.kill(-Number(group), 'SIGKILL');
    await heirOf(stage, left, async (heir, workspace) => {
      const { step } = await take(heir, workspace, left);
      await step?.stop(0);
      expect(await step?.exited).toEqual({ exitCode: 137 });
    });
    other.kill('SIGUSR1');
    expect(await gone).toBe('SIGUSR1');
  });
});
