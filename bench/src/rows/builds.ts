/** How fast builds go on the host: dispatch, five, latency; beside Buildbot. */
import { Buildbot, NO_BUILDBOT, withBuildbot } from '../buildbot.js';
import { check } from '../check.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { inTurns, median, medians, percentile, timed } from '../measure.js';
import type { Row, Size } from '../row.js';

const WORKERS = 2;
const SLOTS = 4;
const IN_FLIGHT = 8;

const steps = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ name: `s${n}`, run: 'true' }));

export const BUILDERS = {
  one: { steps: steps(1) },
  five: { steps: steps(5) },
  clock: { steps: [{ name: 'clock', run: 'date +%s%N' }] },
};
export type BuilderName = keyof typeof BUILDERS;

export const HOST_FARM = {
  executor: 'host',
  workers: WORKERS,
  slots: SLOTS,
  builders: BUILDERS,
} as const;

/** Builds a second with eight in flight; every one is checked when the clock has stopped. */
export async function throughput(
  farm: BenchFarm,
  builder: 'one' | 'five',
  count: number,
): Promise<number> {
  const start = performance.now();
  const done = await farm.builds.inFlight(builder, count, IN_FLIGHT);
  const seconds = (Math.max(...done.map(({ ended }) => ended)) - start) / 1000;
  const requests = done.map(({ request }) => request);
  await check(farm, requests, { steps: BUILDERS[builder].steps.length });
  return count / seconds;
}

/** Milliseconds from the POST to the news of the end, one build at a time. */
export async function latencies(farm: BenchFarm, count: number): Promise<number[]> {
  const done = await farm.builds.inFlight('one', count, 1);
  await check(
    farm,
    done.map(({ request }) => request),
    { steps: 1 },
  );
  return done.map(({ posted, ended }) => ended - posted);
}

/** Milliseconds from the POST to the clock that the step's own process has read and printed. */
async function starts({ builds, farm, db }: BenchFarm, count: number): Promise<number[]> {
  const found: number[] = [];
  for (let n = 0; n < count; n++) {
    // whole milliseconds, cut off: it makes ours longer, if anything
    const posted = Date.now();
    const { build } = await builds.run('clock');
    const text = (await farm.log(build, 0, '?stream=stdout')).toString();
    if (!/^\d{19}\n$/.test(text))
      throw new Error(`date +%s%N printed ${JSON.stringify(text)}: it takes GNU's`);
    const { rows } = await db.query('SELECT result FROM builds WHERE id = $1', [build]);
    if (rows[0]?.result !== 'success') throw new Error(`build ${build}: ${JSON.stringify(rows)}`);
    found.push(Number(BigInt(text.trim()) / 1000n) / 1000 - posted);
  }
  return found;
}

const buildbotFarm = {
  workers: WORKERS,
  slots: SLOTS,
  builders: { one: ['true'], five: ['true', 'true', 'true', 'true', 'true'] },
};

async function buildbotThroughput(
  buildbot: Buildbot,
  builder: 'one' | 'five',
  count: number,
): Promise<number> {
  let done: number[] = [];
  const ms = await timed(async () => {
    done = await buildbot.inFlight(builder, count, IN_FLIGHT);
  });
  await buildbot.check(done, { steps: BUILDERS[builder].steps.length, log: '' });
  return (count / ms) * 1000;
}

const noted = (buildbot: Buildbot | undefined) => (buildbot ? {} : { note: NO_BUILDBOT });

const throughputRow =
  (name: 'dispatch' | 'five', builder: 'one' | 'five', size: Record<Size, Plan>): Row =>
  (at, report) =>
    withBuildbot(buildbotFarm, (buildbot) =>
      withFarm(HOST_FARM, async (farm) => {
        const { rounds, ours, theirs } = size[at];
        const measured = await medians(
          rounds,
          () => throughput(farm, builder, ours),
          buildbot && (() => buildbotThroughput(buildbot, builder, theirs)),
        );
        report(name, { ...measured, ...noted(buildbot) });
      }),
    );

interface Plan {
  rounds: number;
  /** Builds in a round. */
  ours: number;
  theirs: number;
}

export const dispatch = throughputRow('dispatch', 'one', {
  full: { rounds: 5, ours: 800, theirs: 40 },
  small: { rounds: 1, ours: 40, theirs: 8 },
});

export const five = throughputRow('five', 'five', {
  full: { rounds: 5, ours: 300, theirs: 24 },
  small: { rounds: 1, ours: 20, theirs: 8 },
});

export const latency: Row = (size, report) =>
  withBuildbot(buildbotFarm, (buildbot) =>
    withFarm(HOST_FARM, async (farm) => {
      const { rounds, ours, theirs } = {
        full: { rounds: 10, ours: 50, theirs: 5 },
        small: { rounds: 1, ours: 10, theirs: 2 },
      }[size];
      const started: number[] = [];
      const found = await inTurns(
        rounds,
        async () => {
          const ends = await latencies(farm, ours);
          started.push(...(await starts(farm, ours)));
          return ends;
        },
        buildbot &&
          (async () => {
            const samples: number[] = [];
            for (let n = 0; n < theirs; n++) {
              const posted = performance.now();
              const { request, ended } = await buildbot.run('one');
              await buildbot.check([request], { steps: 1, log: '' });
              samples.push(ended - posted);
            }
            return samples;
          }),
      );
      const theirMedian = buildbot ? median(found.theirs) : null;
      // of the first round, too
      started.splice(0, ours);
      report('latency', { value: median(found.ours), peerValue: theirMedian, ...noted(buildbot) });
      report('latency.p99', { value: percentile(found.ours, 0.99) });
      report('latency.start', { value: median(started) });
      report('latency.start.p99', { value: percentile(started, 0.99) });
    }),
  );
