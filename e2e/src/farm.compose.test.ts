import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { NewRegistrationToken } from '@impgem/client';
import { testEngine, testEngineHost } from '@impgem/testkit';
import { Farm } from './farm.js';
import { ROOT } from './program.js';

const execute = promisify(execFile);
const PROJECT = `impgem-e2e-${process.pid}`;
const IMAGES = { master: `${PROJECT}-master:test`, worker: `${PROJECT}-worker:test` };

const FARM = `
builders:
  hello:
    image: busybox:1.37
    steps:
      - name: hello
        run: echo hello from a container | tee hello.txt
    artifacts: [hello.txt]
`;

describe('docker-compose.yml', () => {
  const docker = testEngine();
  let env: Record<string, string | undefined> = {};
  let dir = '';
  let before: string[] = [];

  const compose = (...args: string[]) =>
    execute('docker-compose', ['-p', PROJECT, '-f', join(ROOT, 'docker-compose.yml'), ...args], {
      cwd: dir,
      env,
      maxBuffer: 64 * 1024 * 1024,
    });
  const imageIds = async () => (await docker.listImages({ all: true })).map(({ Id }) => Id);

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-compose-'));
    before = await imageIds();
    const socket = testEngineHost.replace('unix://', '');
    env = {
      ...process.env,
      POSTGRES_PASSWORD: 'a-password-for-a-test',
      IMPGEM_MASTER_IMAGE: IMAGES.master,
      IMPGEM_WORKER_IMAGE: IMAGES.worker,
      // any free port of this machine
      IMPGEM_PUBLISH: '127.0.0.1:0',
      DOCKER_GID: String((await stat(socket)).gid),
      DOCKER_SOCKET: socket,
      DOCKER_BUILDKIT: '0',
      COMPOSE_DOCKER_CLI_BUILD: '0',
      COMPOSE_HTTP_TIMEOUT: '300',
    };
    await compose('build', '--quiet', 'master', 'worker-1');
  });

  afterAll(async () => {
    await compose('down', '--volumes', '--remove-orphans', '--timeout', '20').catch(
      () => undefined,
    );
    await removeNew(docker, before);
    await rm(dir, { recursive: true, force: true });
  });

  it('starts a farm whose two workers register, build, and leave nothing behind', async () => {
    await compose('up', '-d', '--no-build', 'master');
    const { stdout: published } = await compose('port', 'master', '8010');
    const farm = new Farm(dir, {});
    farm.url = `http://${published.trim()}`;
    await untilReady(farm.url, async () => (await compose('logs', '--tail=50')).stdout);
    const { stdout: token } = await compose('exec', '-T', 'master', 'cat', '/data/admin-token');
    farm.token = token.trim();
    const made = await compose(
      'exec',
      '-T',
      'master',
      'impgem',
      '--json',
      'workers',
      'add',
      '--uses',
      '2',
    );
    env['IMPGEM_REGISTRATION_TOKEN'] = (JSON.parse(made.stdout) as NewRegistrationToken).token;
    await compose('up', '-d', '--no-build');
    await farm.untilWorker('worker-1', 'online');
    await farm.untilWorker('worker-2', 'online');

    for (const worker of ['worker-1', 'worker-2']) {
      const build = await farm.build(
        FARM.replace('steps:', `workers: [${worker}]\n    steps:`),
        'hello',
      );
      expect(build).toMatchObject({ result: 'success', worker });
      expect(await farm.logOf(build, 'hello')).toContain('hello from a container\n');
      expect((await farm.artifact(build.id, 'hello.txt')).toString()).toBe(
        'hello from a container\n',
      );
    }

    await expect(reaches(compose, 'worker-1', 'postgres:5432')).resolves.toBe(false);
    await expect(reaches(compose, 'worker-1', 'worker-2:22')).resolves.toBe(false);
    await expect(reaches(compose, 'worker-1', 'master:8010')).resolves.toBe(true);
    await expect(reaches(compose, 'master', 'postgres:5432')).resolves.toBe(true);
    const { stdout: user } = await compose('exec', '-T', 'worker-1', 'id', '-u');
    expect(user.trim()).not.toBe('0');

    // workers first: they remove their holders and networks when they stop
    await compose('stop', '--timeout', '60', 'worker-1', 'worker-2');
    const { labels } = {
      labels: (await docker.listContainers({ all: true })).map(({ Labels }) => Labels),
    };
    const workers = await farm.api<{ items: { id: string }[] }>('GET', '/workers');
    for (const { id } of workers.items) expect(JSON.stringify(labels)).not.toContain(id);
  });

  it('is read by both versions of compose', async () => {
    const text = await readFile(join(ROOT, 'docker-compose.yml'), 'utf8');
    await writeFile(join(dir, 'copy.yml'), text);
    await compose('config', '--quiet');
    const v2 = await execute('docker', ['compose', 'version']).then(
      () => true,
      () => false,
    );
    if (v2)
      await execute(
        'docker',
        ['compose', '-f', join(ROOT, 'docker-compose.yml'), 'config', '--quiet'],
        { env },
      );
  });
});

type Compose = (...args: string[]) => Promise<{ stdout: string }>;

async function reaches(compose: Compose, from: string, to: string): Promise<boolean> {
  const [host, port] = to.split(':');
  const script = `const s = require('net').connect(${port}, '${host}');
    s.setTimeout(3000, () => process.exit(1)); s.on('error', () => process.exit(1)); s.on('connect', () => process.exit(0));`;
  return compose('exec', '-T', from, 'node', '-e', script).then(
    () => true,
    () => false,
  );
}

async function untilReady(url: string, saw: () => Promise<string>): Promise<void> {
  for (let i = 0; i < 240; i++) {
    const ready = await fetch(`${url}/health/ready`).catch(() => undefined);
    if (ready?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error(`the master did not get ready:\n${await saw()}`);
}

/** Removes the images that the builds made: the named ones first, then what they stood on. */
async function removeNew(
  docker: ReturnType<typeof testEngine>,
  before: readonly string[],
): Promise<void> {
  for (const name of Object.values(IMAGES)) {
    await docker
      .getImage(name)
      .remove({ force: true })
      .catch(() => undefined);
  }
  for (let round = 0; round < 50; round++) {
    // untagged ones only: a farm of somebody else may make images at the same time
    const left = (await docker.listImages({ all: true })).filter(
      ({ Id, RepoTags }) =>
        !before.includes(Id) && (RepoTags ?? []).every((tag) => tag.startsWith('<none>')),
    );
    const gone = await Promise.all(
      left.map(({ Id }) =>
        docker
          .getImage(Id)
          .remove()
          .then(
            () => true,
            () => false,
          ),
      ),
    );
    if (!gone.includes(true)) return;
  }
}
