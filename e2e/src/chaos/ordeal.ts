/**
 * One build that counts aloud while everything around it goes down: its master is killed three times, the network is
 * cut for a third of the time, its worker is killed. It ends at its first attempt, and every line is there once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BuildDetail } from '@impgem/client';
import { eventually } from '@impgem/testkit';
import { Farm } from '../farm.js';
import { Program, ROOT } from '../program.js';
import { FaultProxy } from './proxy.js';

/** Lines come every 100 ms. */
const PER_SECOND = 10;

interface Course {
  dataDir: string;
  seconds: number;
  engineHost?: string;
  say?: (text: string) => void;
}

export interface Outcome {
  build: BuildDetail;
  attempts: number;
  log: string;
  expected: string;
}

/** Plays it in a folder of its own; the caller removes that. */
export async function ordeal({
  dataDir,
  seconds,
  engineHost,
  say = () => undefined,
}: Course): Promise<Outcome> {
  const farm = new Farm(dataDir, { workerEnv: engineHost ? { DOCKER_HOST: engineHost } : {} });
  await farm.startMaster();
  const proxy = await FaultProxy.listen('127.0.0.1', () => [Number(new URL(farm.url).port)]);
  try {
    const env = { IMPGEM_MASTER_URL: `http://127.0.0.1:${proxy.port}` };
    await farm.addWorker('worker-1', { env });
    return await play(farm, proxy, seconds, say);
  } finally {
    proxy.heal();
    await farm.stop();
    await proxy.close();
  }
}

async function play(
  farm: Farm,
  proxy: FaultProxy,
  seconds: number,
  say: (text: string) => void,
): Promise<Outcome> {
  const lines = seconds * PER_SECOND;
  await farm.apply(`builders:
  count:
    image: busybox:1.37
    steps:
      - name: count
        run: i=0; while [ $i -lt ${lines} ]; do i=$((i + 1)); echo "line $i"; sleep ${1 / PER_SECOND}; done
`);
  const { id } = await farm.request('count');
  const first = await farm.untilBuild(id, ['running']);
  const reached = async (share: number): Promise<void> => {
    let seen = 0;
    await eventually(
      async () => {
        seen = (await farm.api<BuildDetail>('GET', `/builds/${first.id}`)).steps[0]?.log.lines ?? 0;
        return seen >= share * lines;
      },
      {
        timeoutMs: seconds * 3000 + 60_000,
        what: `line ${share * lines}`,
        saw: () => `${seen} lines\n${farm.told()}`,
      },
    );
    say(`at line ${seen}: `);
  };
  const killMaster = async (): Promise<void> => {
    say('the master is killed\n');
    farm.master.kill('SIGKILL');
    await farm.master.exited;
    await farm.startMaster();
  };
  await reached(0.05);
  await killMaster();
  await reached(0.15);
  say(`the network is cut for ${seconds / 3} s\n`);
  proxy.cut();
  await sleep((seconds / 3) * 1000);
  proxy.heal();
  await reached(0.55);
  await killMaster();
  await reached(0.65);
  say('the worker is killed\n');
  await restartWorker(farm, proxy);
  await reached(0.8);
  await killMaster();
  const build = await farm.untilBuild(id, ['finished'], seconds * 3000 + 120_000);
  const { builds } = await farm.api<{ builds: unknown[] }>('GET', `/build-requests/${id}`);
  const log = (await farm.log(build.id, 0, '?stream=stdout')).toString();
  const expected = Array.from({ length: lines }, (_, n) => `line ${n + 1}\n`).join('');
  return { build, attempts: builds.length, log, expected };
}

async function restartWorker(farm: Farm, proxy: FaultProxy): Promise<void> {
  const [old] = farm.workers.splice(0) as [Program];
  old.kill('SIGKILL');
  await old.exited;
  const env = {
    ...farm.workerEnv(old.name, ''),
    IMPGEM_MASTER_URL: `http://127.0.0.1:${proxy.port}`,
  };
  const command = [process.execPath, `${ROOT}/apps/worker/bundle/main.js`];
  farm.workers.push(new Program(old.name, command, env));
}
