/** How fast builds go in containers: container, chain; beside `docker run --rm`. */
import { check } from '../check.js';
import { dockerRun, dockerRunInParallel, IMAGE } from '../docker.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { medians, timed } from '../measure.js';
import type { Report, Row, Size } from '../row.js';

const AT_ONCE = 4;

const steps = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ name: `s${n}`, run: 'true' }));

export const BUILDERS = {
  container: { image: IMAGE, steps: steps(1) },
  chain: { image: IMAGE, steps: steps(5) },
};

export const DOCKER_FARM = { executor: 'docker', slots: AT_ONCE, builders: BUILDERS } as const;

/** Milliseconds of one build, from the POST to the news of its end. */
async function one(farm: BenchFarm, builder: keyof typeof BUILDERS): Promise<number> {
  const { request, posted, ended } = await farm.builds.run(builder);
  await check(farm, [request], { steps: BUILDERS[builder].steps.length });
  return ended - posted;
}

/** Milliseconds of so many containers, one after the other. */
const docker = (count: number) =>
  timed(async () => {
    for (let n = 0; n < count; n++) await dockerRun('true');
  });

/** Each slot makes its holder at first: that is no part of a build. */
export const warmUp = (farm: BenchFarm) => farm.builds.inFlight('container', AT_ONCE * 2, AT_ONCE);

export async function containerFigures(farm: BenchFarm, size: Size, report: Report) {
  const rounds = { full: 20, small: 3 }[size];
  report(
    'container',
    await medians(
      rounds,
      () => one(farm, 'container'),
      () => docker(1),
    ),
  );
}

export async function parallelFigures(farm: BenchFarm, size: Size, report: Report) {
  const { rounds, count } = {
    full: { rounds: 5, count: 40 },
    small: { rounds: 1, count: 8 },
  }[size];
  const perSecond = (ms: number) => (count / ms) * 1000;
  const ours = async () => {
    const start = performance.now();
    const done = await farm.builds.inFlight('container', count, AT_ONCE);
    const ms = Math.max(...done.map(({ ended }) => ended)) - start;
    await check(
      farm,
      done.map(({ request }) => request),
      { steps: 1 },
    );
    return perSecond(ms);
  };
  const theirs = async () => perSecond(await timed(() => dockerRunInParallel(count)));
  report('container.parallel', await medians(rounds, ours, theirs));
}

export async function chainFigures(farm: BenchFarm, size: Size, report: Report) {
  const rounds = { full: 15, small: 2 }[size];
  const count = BUILDERS.chain.steps.length;
  report(
    'chain',
    await medians(
      rounds,
      () => one(farm, 'chain'),
      () => docker(count),
    ),
  );
}

export const container: Row = (size, report) =>
  withFarm(DOCKER_FARM, async (farm) => {
    await warmUp(farm);
    await containerFigures(farm, size, report);
    await parallelFigures(farm, size, report);
  });

export const chain: Row = (size, report) =>
  withFarm(DOCKER_FARM, async (farm) => {
    await warmUp(farm);
    await chainFigures(farm, size, report);
  });
