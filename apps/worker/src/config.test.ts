import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { makeOwn } from '@impgem/kit';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, folderHost, readConfig } from './config.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'impgem-config-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

const read = (env: Record<string, string> = {}) => readConfig({ IMPGEM_WORKER_DATA: dir, ...env });
function problems(env: Record<string, string>): readonly string[] {
  try {
    read(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('readConfig', () => {
  it('needs nothing', () => {
    expect(read()).toMatchObject({ dataDir: dir, slots: 2, executor: { executor: 'docker' } });
  });

  it('takes the file, and the environment before it', async () => {
    await writeFile(
      join(dir, 'worker.yml'),
      'workerSlots: 5\nworkerLabels: [gpu]\nstepMemory: 1GiB\n',
    );
    const config = read({ IMPGEM_WORKER_SLOTS: '3' });
    expect(config).toMatchObject({ slots: 3, labels: ['gpu'] });
    expect(config.executor.docker.memory).toBe(1024 ** 3);
  });

  it('says one thing of each bad key', async () => {
    await writeFile(join(dir, 'worker.yml'), 'workerSlot: 5\nnetworksRange: wide\n');
    expect(
      problems({
        IMPGEM_WORKER_SLOTS: 'many',
        IMPGEM_WORKER_NMAE: 'x',
        IMPGEM_MASTER_URL: 'farm',
        IMPGEM_REGISTRATION_TOKEN: 'igt_x',
      }),
    ).toEqual([
      'worker.yml: unknown key workerSlot: did you mean workerSlots?',
      'unknown variable IMPGEM_WORKER_NMAE: did you mean IMPGEM_WORKER_NAME?',
      expect.stringContaining('IMPGEM_MASTER_URL is an address'),
      expect.stringContaining('IMPGEM_REGISTRATION_TOKEN is a registration token'),
      'IMPGEM_WORKER_SLOTS is a whole number',
      expect.stringContaining('worker.yml: networksRange is an IPv4 range'),
    ]);
  });

  it('does not run commands on the host unasked', () => {
    expect(problems({ IMPGEM_EXECUTOR: 'host' })).toEqual([
      expect.stringContaining('IMPGEM_ALLOW_HOST_EXECUTOR=1'),
    ]);
    expect(problems({ IMPGEM_EXECUTOR: 'host', IMPGEM_ALLOW_HOST_EXECUTOR: '1' })).toEqual([]);
  });

  it.each(['tcp://127.0.0.1:2375', 'tcp://engine.example.org:2375', 'http://10.0.0.1:2375'])(
    'does not use an engine without TLS unasked: %s',
    (host) => {
      const told = [expect.stringContaining('IMPGEM_ALLOW_INSECURE_ENGINE=1')];
      expect(problems({ DOCKER_HOST: host })).toEqual(told);
      expect(problems({ DOCKER_HOST: host, IMPGEM_ALLOW_INSECURE_ENGINE: '1' })).toEqual([]);
      expect(problems({ DOCKER_HOST: host, IMPGEM_DOCKER_SOCKET: '/x.sock' })).toEqual([]);
    },
  );

  it('means TLS by tcp:// when the docker command would, and looks for no answer at its port', () => {
    const env = { DOCKER_HOST: 'tcp://10.0.0.1:2377', DOCKER_TLS_VERIFY: '1' };
    const { host, ports } = read(env).executor.docker;
    expect(host).toBe('https://10.0.0.1:2377');
    expect(ports).toEqual(expect.arrayContaining([2375, 5432, 8010, 2377]));
  });

  it('takes settings and a credential of the current folder only when a worker made them', async () => {
    const found = join(dir, '.impgem/worker');
    expect(readConfig({}, dir)).toMatchObject({ dataDir: found, dataDirNamed: false });
    await mkdir(found, { recursive: true });
    await writeFile(join(found, 'worker.yml'), 'executor: host\nallowHostExecutor: true\n');
    await writeFile(join(found, 'credential.json'), '{}');
    const says = `found ${found}, which is not used: it was not made here`;
    expect(() => readConfig({}, dir)).toThrow(says);
    expect(() => readConfig({ IMPGEM_WORKER_DATA: '.impgem/worker' }, dir)).toThrow(says);
    expect(readConfig({ IMPGEM_WORKER_DATA: found }, dir)).toMatchObject({ dataDirNamed: true });
    makeOwn(folderHost, found);
    expect(readConfig({}, dir).executor.executor).toBe('host');
    await rename(join(dir, '.impgem'), join(dir, 'elsewhere'));
    await symlink('elsewhere', join(dir, '.impgem'));
    expect(() => readConfig({}, dir)).toThrow('.impgem is a link');
  });
});
