import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import {
  comparedScope,
  engineObjects,
  expectNothingLeft,
  testEngine,
  testEngineHost,
  testIdentity,
} from '@impgem/testkit';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { DOCKER_DEFAULTS } from './config.js';
import type { DockerConfig } from './config.js';
import { describeExecutor } from './contract.js';
import { shell } from './contract/shell.js';
import { Audience, Stage, until } from './contract/stage.js';
import { heirOf, launchAndDie, take } from './contract/take-up.js';
import type { Subject } from './contract.js';
import { DockerExecutor } from './docker/docker-executor.js';
import { Holders } from './docker/holders.js';
import type { Identity, OutputSink } from './executor.js';

const IMAGE = 'busybox:1.37';
const MIB = 1024 ** 2;
const CONFIG: DockerConfig = {
  ...DOCKER_DEFAULTS,
  host: testEngineHost,
  memory: 48 * MIB,
  networksRange: '10.214.0.0/16',
  slots: 2,
};
const create = (more: Partial<DockerConfig> = {}): DockerExecutor =>
  new DockerExecutor({ ...CONFIG, ...more });

/** Holders stay warm, so they are no leftovers while their executor lives. */
async function remains(identity: Identity): Promise<string[]> {
  const objects = await engineObjects(identity);
  return objects.filter((object) =>
    /impgem-[0-9a-f]{8}-(step|files|helper|workspace)/.test(object),
  );
}

const subject: Subject = {
  name: 'docker',
  create: (slots = CONFIG.slots) => create({ slots }),
  dialect: {
    ...shell,
    outOfMemory: () =>
      'x=$(yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -c 200000000); echo survived',
    unstartable: () => ({ workdir: '../outside' }),
  },
  step: { image: IMAGE },
  readersWaitMs: 3000,
  remains,
};

/** The image that a worker's holders have. */
async function ownImageOf({ worker }: Identity) {
  const label = [`impgem.worker=${worker}`, 'impgem.role=holder'];
  const [holder] = await testEngine().listContainers({ all: true, filters: { label } });
  return testEngine()
    .getImage(holder?.ImageID ?? '')
    .inspect();
}

let before: string[];
let stage: Stage;
beforeAll(async () => {
  before = await engineObjects(comparedScope(stage.identity));
});
afterAll(async () => {
  await expectNothingLeft(before, comparedScope(stage.identity));
});

describeExecutor(subject);

const line = (n: number, c: string): string => `head -c ${n} /dev/zero | tr '\\0' ${c}; echo`;
const longLines = (last: string): string =>
  `echo started; ${line(16_384, 'a')}; sleep 1; ${line(40_000, 'b')}; ${last}`;

describe('the docker executor, beyond the contract', () => {
  stage = new Stage(subject);
  stage.install();

  it('says which image runs', async () => {
    const { system } = await stage.play('true');
    expect(system).toMatch(/^image busybox:1\.37 sha256:[0-9a-f]{64}\n$/);
  });

  it('lists the same of a small workspace and of a big one, without sockets and what is too deep', async () => {
    const workspace = await stage.workspace();
    const deep =
      'n=$(printf "d%.0s" $(seq 1 240)); for i in $(seq 1 20); do mkdir $n && cd $n; done';
    // Where that link leads it makes its socket.
    const socket = 'ln -s $PWD/out/s /dev/log; syslogd; while [ ! -S out/s ]; do sleep 0.05; done';
    const names = `mkdir out; echo 1 > out/a; ln out/a out/twin; ln -s a out/link; mkfifo out/p; : > "$(printf 'out/\\377')"`;
    const { exit } = await stage.play(`${names}; ${socket}; (${deep}) || true`, {}, workspace);
    expect(exit).toEqual({ exitCode: 0 });
    const list = async (): Promise<Map<string, string>> => {
      const seen = new Map<string, string>();
      for await (const { path, type, size, mode } of workspace.files())
        if (!path.startsWith('ddd') && type !== 'directory')
          seen.set(path, `${type} ${type === 'file' ? size : ''} ${mode.toString(8)}`);
      return seen;
    };
    const small = await list();
    await stage.play('head -c 40000000 /dev/zero > big', {}, workspace);
    const big = await list();
    expect(big.get('big')).toBe('file 40000000 644');
    big.delete('big');
    expect(big).toEqual(small);
    expect([...small.keys()].toSorted()).toEqual([
      'out/a',
      'out/link',
      'out/p',
      'out/twin',
      'out/\ufffd',
    ]);
    expect(small.get('out/twin')).toBe('file 2 644');
    expect(small.get('out/p')).toMatch(/^other/);
  });

  it('hides what a build wrote into the shared network files from the next', async () => {
    const poison =
      'echo 6.6.6.6 github.com >> /etc/hosts; echo nameserver 6.6.6.6 > /etc/resolv.conf';
    const worse = `${poison}; chmod 000 /etc/hosts; chown 1234 /etc/resolv.conf`;
    for (const run of [poison, worse]) {
      // As many as there are holders, so that each was poisoned once.
      const poisoned = await Promise.all([1, 2, 3].map(() => stage.workspace()));
      await Promise.all(poisoned.map((workspace) => stage.play(run, {}, workspace)));
      await Promise.all(poisoned.map((workspace) => workspace.dispose()));
      const next = await Promise.all([1, 2, 3].map(() => stage.workspace()));
      const look = 'cat /etc/hosts /etc/resolv.conf; stat -c "%a %u" /etc/hosts /etc/resolv.conf';
      for (const { stdout } of await Promise.all(next.map((one) => stage.play(look, {}, one)))) {
        expect(stdout.toString()).not.toContain('6.6.6.6');
        expect(stdout.toString()).toMatch(/644 0\n644 0\n$/);
      }
    }
  });

  it('gives builds at the same time different networks', async () => {
    const both = await Promise.all([stage.workspace(), stage.workspace()]);
    const [one, two] = await Promise.all(
      both.map((workspace) => stage.play('ip -4 addr show eth0 | grep inet', {}, workspace)),
    );
    expect(one?.stdout.toString()).toContain('10.214.');
    expect(one?.stdout.toString()).not.toBe(two?.stdout.toString());
  });

  it('blocks the addresses where clouds hand out credentials, for good', async () => {
    const run =
      'ip route; ip -6 route; ip route del blackhole 169.254.0.0/16 && echo deleted; ' +
      'for at in 169.254.169.254 168.63.129.16 100.100.100.200 fd00:ec2::254 fd20:ce::254; do ' +
      'nc -w 2 $at 80 </dev/null && echo reached; done; ' +
      'grep -v " lo$" /proc/net/if_inet6 && echo has IPv6; true';
    const { stdout, exit } = await stage.play(run);
    expect(exit).toEqual({ exitCode: 0 });
    for (const one of ['169.254.0.0/16', '168.63.129.16', '100.100.100.200', 'fd00:ec2::/32'])
      expect(stdout.toString()).toContain(`blackhole ${one}`);
    expect(stdout.toString()).not.toMatch(/deleted|reached|has IPv6/);
  });

  it('throws a network away that does not show its blocks', async () => {
    const identity = { farm: 'unblocked-test', worker: `w${process.pid}` };
    const others = await engineObjects(identity);
    const engine = testEngine();
    const { Id: image } = await ownImageOf(stage.identity);
    type Options = Parameters<typeof engine.createContainer>[0];
    const createContainer = (options: Options): unknown =>
      engine.createContainer(
        String(options.Cmd).includes('route replace')
          ? { ...options, Cmd: ['/bin/true'] }
          : options,
      );
    const holders = new Holders({
      engine: new Proxy(engine, {
        get: (target, key) =>
          key === 'createContainer' ? createContainer : (Reflect.get(target, key) as unknown),
      }),
      identity,
      image,
      networksRange: CONFIG.networksRange,
      resolvers: [],
      blocked: ['metadata'],
      host: 'allow',
      ports: [],
    });
    await expect(holders.take()).rejects.toMatchObject({
      code: 'engine-error',
      message: expect.stringMatching(/cannot be kept from 169\.254\.0\.0\/16, /),
    });
    await holders.close();
    await expectNothingLeft(others, identity);
  });

  it("refuses the farm's own image, by its name and by its id", async () => {
    const { Id, RepoTags } = await ownImageOf(stage.identity);
    for (const image of [RepoTags[0] ?? '', Id, 'impgem/holder'])
      await expect(stage.play('true', { image })).rejects.toMatchObject({
        code: 'policy',
        message: expect.stringContaining("the farm's own"),
      });
  });

  it('gives steps the seven capabilities, no new privileges, no other', async () => {
    const { stdout } = await stage.play('grep -E "CapEff|CapBnd|NoNewPrivs" /proc/self/status');
    const seven = [0, 1, 3, 4, 5, 6, 7].reduce((all, bit) => all + 2 ** bit, 0).toString(16);
    const mask = seven.padStart(16, '0');
    expect(stdout.toString().replaceAll('\t', ' ')).toBe(
      `CapEff: ${mask}\nCapBnd: ${mask}\nNoNewPrivs: 1\n`,
    );
  });

  it('takes anonymous volumes of an image away with the step', async () => {
    await stage.play('true', { image: 'postgres:17' });
    await expectNothingLeft(before, comparedScope({ farm: 'none', worker: 'none' }));
  });

  it('limits what it lists by names, not by bytes', async () => {
    const workspace = await stage.workspace();
    const make =
      'head -c 60000000 /dev/zero > zeros; printf x > "$(printf "a\\nb")"; mkdir d; ln -s d l; mkfifo p';
    await stage.play(make, {}, workspace);
    const files = new Map<string, string>();
    for await (const { path, type, size } of workspace.files()) files.set(path, `${type} ${size}`);
    expect(files.get('zeros')).toBe('file 60000000');
    expect(files.get('a\nb')).toBe('file 1');
    expect(
      [files.get('d'), files.get('l'), files.get('p')].map((text) => text?.split(' ')[0]),
    ).toEqual(['directory', 'link', 'other']);
  });

  it.each([
    ['nosuchhost.invalid/none:1', /docker pull nosuchhost\.invalid\/none:1/],
    ['-x', /no image reference/],
    ['Upper:Case', /no image reference/],
  ])('says how to mend the missing image %s', async (image, message) => {
    await expect(stage.play('true', { image })).rejects.toMatchObject({
      code: 'image-unavailable',
      message: expect.stringMatching(message),
    });
  });

  it('says when no engine answers, and what to do', async () => {
    const lost = create({ host: 'unix:///nowhere/docker.sock' });
    await expect(lost.open(stage.identity)).rejects.toMatchObject({
      code: 'engine-unavailable',
      message: expect.stringMatching(/nowhere\/docker\.sock.*DOCKER_HOST/),
    });
  });

  it('reads the output again when its stream broke', async () => {
    const audience = new Audience();
    const workspace = await stage.workspace();
    const step = await stage.start(
      workspace,
      stage.spec(
        'echo started; i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; sleep 1; echo end',
      ),
      audience.sink,
    );
    await audience.sees('started');
    (step as unknown as { output: { cut(): void } }).output.cut();
    expect(await step.exited).toEqual({ exitCode: 0 });
    const expected = Array.from({ length: 2000 }, (_, index) => `${index}\n`).join('');
    expect(audience.stdout.toString()).toBe(`started\n${expected}end\n`);
  });

  it('reads long lines again as they were, and knows when it cannot', async () => {
    const text = `started\n${'a'.repeat(16_384)}\n${'b'.repeat(40_000)}\n`;
    for (const [last, exit, written] of [
      ['echo end', { exitCode: 0 }, `${text}end\n`],
      ['true', { exitCode: 0, reason: { code: 'engine-unavailable' } }, undefined],
    ] as const) {
      const audience = new Audience();
      const step = await stage.start(
        await stage.workspace(),
        stage.spec(longLines(last)),
        audience.sink,
      );
      await audience.sees('started');
      (step as unknown as { output: { cut(): void } }).output.cut();
      expect(await step.exited).toMatchObject(exit);
      if (written) expect(audience.stdout.toString()).toBe(written);
      step.discard();
    }
  });

  it('thaws a step that its dead process had frozen, and reads it whole', async () => {
    // One line: of short ones the engine reads a megabyte or a few in a second.
    const bytes = Buffer.alloc(48 * MIB, 'x');
    const run = `head -c ${bytes.length} /dev/zero | tr '\\0' x`;
    const blocked = deferred();
    const sink: OutputSink = (stream) => (stream === 'system' ? undefined : blocked.promise);
    const left = await launchAndDie(stage, run, { sink });
    const container = testEngine().getContainer(left.ref);
    await until('it is frozen', async () => (await container.inspect()).State.Paused);
    // With the process its connections go.
    (left.step as unknown as { output: { cut(): void } }).output.cut();
    await heirOf(stage, left, async (heir, workspace) => {
      const { audience, step } = await take(heir, workspace, left);
      expect(await step?.exited).toEqual({ exitCode: 0 });
      expect(audience.stdout.equals(bytes)).toBe(true);
    });
    blocked.resolve();
    await left.step?.exited;
  });

  it('does not believe the exit of a step whose engine was started anew', async () => {
    const left = await launchAndDie(stage, 'exit 0');
    await left.dead.leave();
    await heirOf(stage, left, async (heir, workspace) => {
      (workspace as unknown as { run: string }).run = 'another run';
      await expect(take(heir, workspace, left)).rejects.toMatchObject({
        code: 'engine-unavailable',
        message: expect.stringContaining('started anew'),
      });
    });
  });

  it('tells a lack of memory that came while nobody looked', async () => {
    const left = await launchAndDie(stage, subject.dialect.outOfMemory?.() ?? '');
    await left.dead.leave();
    await testEngine().getContainer(left.ref).wait();
    await heirOf(stage, left, async (heir, workspace) => {
      const { step } = await take(heir, workspace, left);
      expect(step?.wasOver).toBe(true);
      expect((await step?.exited)?.reason?.code).toBe('out-of-memory');
    });
  });
});

describe("a worker's policy", () => {
  const folder = mkdtempSync(join(tmpdir(), 'impgem-policy-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const identity = testIdentity();

  async function under(
    policy: string,
    look: (executor: DockerExecutor) => Promise<void>,
    more: Partial<DockerConfig> = {},
  ): Promise<void> {
    const policyFile = join(folder, 'policy.yml');
    writeFileSync(policyFile, policy);
    const others = await engineObjects(identity);
    const executor = create({ ...more, policyFile });
    await executor.open(identity);
    try {
      await look(executor);
    } finally {
      await executor.close();
      await expectNothingLeft(others, identity);
    }
  }

  it('refuses images that it does not list', () =>
    under('images: ["debian:*"]', async (executor) => {
      const workspace = await executor.createWorkspace({ build: 1, epoch: 1 }, 0);
      const start = executor.start(workspace, stage.spec('true'), {
        sink: () => {},
        signal: new AbortController().signal,
        launching: async () => {},
      });
      await expect(start).rejects.toMatchObject({ code: 'policy' });
    }));

  it('limits the workspace where the engine can, and gives none where it cannot', () =>
    under('workspace: 16777216', async (executor) => {
      const workspace = await executor.createWorkspace({ build: 1, epoch: 1 }, 0).catch(String);
      if (typeof workspace === 'string') {
        expect(workspace).toContain('no quota support');
        return;
      }
      const step = await executor.start(workspace, stage.spec('head -c 40000000 /dev/zero > big'), {
        sink: () => {},
        signal: new AbortController().signal,
        launching: async () => {},
      });
      expect(await step.exited).toEqual({ exitCode: 1 });
    }));

  it('takes the network away', () =>
    under('network: none', async (executor) => {
      const workspace = await executor.createWorkspace({ build: 1, epoch: 1 }, 0);
      const audience = new Audience();
      const run = 'ls /sys/class/net';
      const { signal } = new AbortController();
      const step = await executor.start(workspace, stage.spec(run), {
        sink: audience.sink,
        signal,
        launching: async () => {},
      });
      await step.exited;
      expect(audience.stdout.toString().trim()).toBe('lo');
    }));

  describe('about the machine of the engine', () => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end('reached\n');
    });
    let port = 0;
    beforeAll(async () => {
      await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
      port = (server.address() as AddressInfo).port;
    });
    afterAll(() => void server.close());

    it.each([
      ['keeps steps from it, at every address', '', false],
      ['lets steps reach it, which is told', 'host: allow', true],
    ])('%s', (_, policy, reached) =>
      under(
        policy,
        async (executor) => {
          const workspace = await executor.createWorkspace({ build: 1, epoch: 1 }, 0);
          const exposed = await executor.exposed();
          const addresses = Object.values(networkInterfaces())
            .flatMap((all) => all ?? [])
            .filter(({ family, internal }) => family === 'IPv4' && !internal)
            .map(({ address }) => address)
            .slice(0, 4);
          const run =
            `for at in $(ip route | awk '/default/{print $3}') ${addresses.join(' ')}; do ` +
            `nc -w 2 $at ${port} </dev/null || echo no; done`;
          const audience = new Audience();
          const step = await executor.start(workspace, stage.spec(run), {
            sink: audience.sink,
            signal: new AbortController().signal,
            launching: async () => {},
          });
          await step.exited;
          const lines = audience.stdout.toString().trim().split('\n');
          expect(new Set(lines)).toEqual(new Set([reached ? 'reached' : 'no']));
          expect(exposed.length > 0).toBe(reached);
          for (const one of exposed) expect(one).toMatch(new RegExp(`:${port}$`));
        },
        { ports: [port] },
      ),
    );
  });

  it('is refused when a key is unknown', async () => {
    const policyFile = join(folder, 'bad.yml');
    writeFileSync(policyFile, 'imges: []');
    await expect(create({ policyFile }).open(identity)).rejects.toMatchObject({ code: 'policy' });
  });
});

describe('the engine', () => {
  it('is there', async () => {
    expect(await testEngine().ping()).toBeTruthy();
  });
});
