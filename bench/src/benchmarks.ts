import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { startFarm, type FarmOptions } from '@impgem/e2e';
import { Buildbot, hasBuildbot } from './buildbot.js';
import { FarmBuilds } from './farm-builds.js';
import { alternate, measurement, type Measurement } from './measure.js';

const execute = promisify(execFile);

const FARM = `
builders:
  container:
    image: busybox:1.37
    steps: [{ name: one, run: echo hello }]
  one:
    steps: [{ name: one, run: echo hello }]
`;

/** Ours against Buildbot: latency of single builds, and how many are done in a second. */
const BUILDBOT = 'Buildbot 3.7 (Debian)';
const SLOTS = '2';

async function withFarm<T>(
  options: FarmOptions,
  use: (builds: FarmBuilds) => Promise<T>,
): Promise<T> {
  const farm = await startFarm({
    ...options,
    masterEnv: { IMPGEM_LOG_LEVEL: 'info' },
    workerEnv: { IMPGEM_WORKER_SLOTS: SLOTS },
  });
  try {
    await farm.apply(FARM);
    const builds = await FarmBuilds.open(farm);
    try {
      return await use(builds);
    } finally {
      builds.close();
    }
  } finally {
    await farm.stop();
  }
}

async function withBuildbot<T>(use: (buildbot: Buildbot | undefined) => Promise<T>): Promise<T> {
  if (!hasBuildbot()) return use(undefined);
  const buildbot = await Buildbot.start();
  try {
    return await use(buildbot);
  } finally {
    await buildbot.stop();
  }
}

/** A container that says hello, by the command line. */
const docker = async () => {
  const start = performance.now();
  await execute('docker', ['run', '--rm', 'busybox:1.37', 'echo', 'hello']);
  return performance.now() - start;
};

/** From the POST to the news of the end: one step in a container, with network, volume, limits and policy. */
function container(rounds: number): Promise<Measurement> {
  return withFarm({ executor: 'docker' }, async (builds) => {
    const ours = async () => {
      const start = performance.now();
      const { request, ended } = await builds.run('container');
      await builds.check(request, 'hello\n');
      return ended - start;
    };
    const facts = { name: 'container', unit: 'ms', peer: 'docker run --rm', goal: '≤ 0.6' };
    return measurement(facts, await alternate(ours, docker, rounds));
  });
}

/** From the POST to the end of a build of one step, one build at a time. */
function latency(rounds: number): Promise<Measurement> {
  return withBuildbot((buildbot) =>
    withFarm({ executor: 'host' }, async (builds) => {
      const ours = async () => {
        const start = performance.now();
        const { request, ended } = await builds.run('one');
        await builds.check(request, 'hello\n');
        return ended - start;
      };
      const theirs = async () => {
        if (!buildbot) return Number.NaN;
        const start = performance.now();
        const request = await buildbot.trigger();
        const ended = await buildbot.ended(request);
        await buildbot.check(request);
        return ended - start;
      };
      const facts = { name: 'latency', unit: 'ms', peer: BUILDBOT, goal: '≤ 0.2' };
      return measurement(facts, await alternate(ours, buildbot && theirs, rounds));
    }),
  );
}

/** Builds that are through in a second when many are asked for at once, one POST each. */
function dispatch(rounds: number): Promise<Measurement> {
  const MANY = 50;
  const some = Array.from({ length: MANY }, (_, n) => n);
  const perSecond = (start: number, ends: readonly number[]) =>
    (MANY / (Math.max(...ends) - start)) * 1000;
  return withBuildbot((buildbot) =>
    withFarm({ executor: 'host' }, async (builds) => {
      const ours = async () => {
        const start = performance.now();
        const done = await Promise.all(some.map(() => builds.run('one')));
        for (const { request } of done) await builds.check(request, 'hello\n');
        return perSecond(
          start,
          done.map(({ ended }) => ended),
        );
      };
      const theirs = async () => {
        if (!buildbot) return Number.NaN;
        const start = performance.now();
        const requests = await Promise.all(some.map(() => buildbot.trigger()));
        // the last one first: asking for all of them all the time would slow it down
        const ends = [];
        for (const request of requests.toReversed()) ends.push(await buildbot.ended(request));
        for (const request of requests) await buildbot.check(request);
        return perSecond(start, ends);
      };
      const facts = { name: 'dispatch', unit: 'builds/s', peer: BUILDBOT, goal: '≥ 5' };
      return measurement(facts, await alternate(ours, buildbot && theirs, rounds));
    }),
  );
}

/** Name → what it measures; the argument is the number of samples. */
export const BENCHMARKS: Record<
  string,
  { run: (rounds: number) => Promise<Measurement>; rounds: number }
> = {
  container: { run: container, rounds: 15 },
  dispatch: { run: dispatch, rounds: 5 },
  latency: { run: latency, rounds: 15 },
};
