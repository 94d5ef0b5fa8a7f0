import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import Docker from 'dockerode';
import { eventually } from '@impgem/testkit';
import { startFarm, type Farm } from './farm.js';
import { NetworkSpace } from './network-space.js';
import { Program } from './program.js';

const execute = promisify(execFile);

let space: NetworkSpace;

const reach = (port: number) =>
  execute(space.inside[0] ?? '', [
    ...space.inside.slice(1),
    'timeout',
    '2',
    'bash',
    '-c',
    `exec 3<>/dev/tcp/${space.here}/${port}`,
  ]);

const FARM = `
builders:
  far:
    image: busybox:1.37
    workers: [far]
    steps:
      - name: compute
        run: seq 1 1000 | sha256sum | tee sum.txt
    artifacts: [sum.txt]
`;

describe('a worker on another network, from which only the port of the master can be reached', () => {
  let farm: Farm;
  let dir = '';
  let engine: Program | undefined;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-far-'));
    farm = await startFarm({ masterEnv: { IMPGEM_HOST: '0.0.0.0' } });
    await farm.apply(FARM);
    space = await NetworkSpace.make(`impgem-${process.pid}`);
    await space.allowOnly(port());
  });
  afterEach(async () => {
    for (const worker of farm.workers.splice(1)) await worker.stop();
    await engine?.stop();
    engine = undefined;
  });
  afterAll(async () => {
    await farm?.stop();
    await space?.remove();
    await unmountBelow(dir);
    await rm(dir, { recursive: true, force: true });
  });

  const port = () => Number(new URL(farm.url).port);
  const addFarWorker = (name: string, env: Record<string, string> = {}) =>
    farm.addWorker('far', {
      prefix: space.inside,
      env: {
        IMPGEM_MASTER_URL: `http://${space.here}:${port()}`,
        IMPGEM_ALLOW_INSECURE: '1',
        IMPGEM_WORKER_DATA: join(dir, name),
        // the engine may be shared: ranges of their own keep the slots' networks apart
        IMPGEM_NETWORKS_RANGE: '10.215.0.0/20',
        ...env,
      },
    });

  const buildsThere = async () => {
    const request = await farm.request('far');
    const build = await farm.untilBuild(request.id);
    expect(build).toMatchObject({ result: 'success', worker: 'far' });
    const sum = '67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f';
    expect(await farm.logOf(build, 'compute')).toContain(sum);
    expect((await farm.artifact(build.id, 'sum.txt')).toString()).toContain(sum);
  };

  it('reaches nothing but that port', async () => {
    await reach(port());
    await expect(reach(1)).rejects.toThrow();
  });

  it('registers with a token and runs a build on the same engine', async () => {
    await addFarWorker('same-engine');
    await buildsThere();
    await farm.api('DELETE', '/workers/far');
  });

  it('registers with a token and runs a build on an engine of its own', async () => {
    const data = join(dir, 'engine');
    const socket = join(dir, 'docker.sock');
    engine = new Program(
      'dockerd',
      [
        ...space.inside,
        'dockerd',
        '--data-root',
        data,
        '--exec-root',
        join(dir, 'exec'),
        '--pidfile',
        join(dir, 'pid'),
        '--bridge',
        'none',
        '-H',
        `unix://${socket}`,
      ],
      {},
    );
    const far = new Docker({ socketPath: socket });
    await eventually(
      () =>
        far.ping().then(
          () => true,
          () => false,
        ),
      { what: 'the engine', saw: () => engine?.output ?? '' },
    );
    const image = await new Docker().getImage('busybox:1.37').get();
    await loadImage(socket, image);
    await addFarWorker('own-engine', { DOCKER_HOST: `unix://${socket}` });
    await buildsThere();
    await farm.api('DELETE', '/workers/far');
  });
});

function loadImage(socketPath: string, image: NodeJS.ReadableStream): Promise<void> {
  return new Promise((resolve, reject) => {
    const to = request({ socketPath, method: 'POST', path: '/images/load?quiet=1' }, (answer) => {
      answer.resume().on('end', () => {
        if (answer.statusCode === 200) resolve();
        else reject(new Error(`load: ${answer.statusCode}`));
      });
    });
    pipeline(image, to).catch(reject);
  });
}

/** An engine that was stopped leaves parts of its folders mounted. */
async function unmountBelow(dir: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n');
  const below = mounts
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${dir}/`));
  for (const path of below.toReversed()) await execute('umount', ['-l', path]);
}
