/** How fast output becomes durable: log, log.host, shortlines. */
import { eventually } from '@impgem/testkit';
import { NO_BUILDBOT, withBuildbot } from '../buildbot.js';
import { check, type Expected } from '../check.js';
import { attach, IMAGE, stepContainer } from '../docker.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { block, line, repeat, sha256OfRepeated, writeBlock } from '../lines.js';
import { medians } from '../measure.js';
import type { Report, Row, Size } from '../row.js';

const MIB = 1024 * 1024;
const WIDTH = 100;
/** Of a block: 1 MiB and some bytes. */
const LINES = 10_486;
const BLOCK = block(LINES, WIDTH);

/** MiB of each run, by size; Buildbot gets less, since its rate does not depend on how much it is. */
const LONG = { full: 200, small: 16 };
const BUILDBOT_MIB = { full: 10, small: 1 };

const print = (blocks: number) =>
  `${writeBlock('block', LINES, WIDTH)}; ${repeat('block', blocks)}`;

/** Lines of two bytes: a letter each, so that a byte out of its place shows. */
const SHORT_BLOCK = Buffer.from(
  Array.from({ length: MIB / 4 }, (_, i) => `${String.fromCharCode(97 + (i % 26))}\n`).join(''),
);
/** On both streams in turn; half a MiB each time. */
const SHORT = { full: 20, small: 2 };
const printShort = (mib: number) =>
  `awk 'BEGIN { for (i = 0; i < ${MIB / 4}; i++) printf "%c\\n", 97 + i % 26 }' > block
   i=0; while [ $i -lt ${mib} ]; do cat block; cat block >&2; i=$((i + 1)); done`;

export const logBuilders = (size: Size) => ({
  // long enough to be looked at
  probe: { image: IMAGE, steps: [{ name: 'sleep', run: 'sleep 3' }] },
  log: { image: IMAGE, steps: [{ name: 'print', run: print(LONG[size]) }] },
  shortlines: { image: IMAGE, steps: [{ name: 'print', run: printShort(SHORT[size]) }] },
});

type Like = Awaited<ReturnType<typeof stepContainer>>;

/** How the farm makes its containers, from one that runs. */
async function containerOptions({ builds, farm }: BenchFarm): Promise<Like> {
  const request = await builds.post('probe');
  const { id } = await farm.untilBuild(request, ['running']);
  await builds.stepStarted(id, 0);
  const { farm: name } = await ownFarm(farm);
  const like = await eventually(() => stepContainer(name).catch(() => undefined), {
    what: 'a container of the farm',
  });
  await builds.end(request);
  return like;
}

async function ownFarm(farm: BenchFarm['farm']): Promise<{ farm: string }> {
  const token = await farm.registrationToken();
  return farm.api('POST', '/workers/register', { name: 'asks-for-the-farm' }, token);
}

/** MiB a second, from the news of the step's start to that of its end, which comes when all of it is committed. */
async function durable(farm: BenchFarm, builder: string, mib: number, expected: Expected) {
  const { request, build } = await farm.builds.run(builder);
  const { started, finished } = await farm.builds.stepTimes(build, 0);
  await check(farm, [request], expected);
  return (mib / (finished - started)) * 1000;
}

export async function logFigures(farm: BenchFarm, size: Size, report: Report): Promise<void> {
  const like = await containerOptions(farm);
  const mib = mibOf(LONG[size]);
  const sha256 = sha256OfRepeated(BLOCK, LONG[size]);
  const expected: Expected = { steps: 1, logs: { 0: { stdout: sha256 } } };
  const run = print(LONG[size]);
  const theirs = async () => (mib / (await attach(like, run, mib * MIB))) * 1000;
  const rounds = { full: 5, small: 1 }[size];
  report('log', await medians(rounds, () => durable(farm, 'log', mib, expected), theirs));
}

export async function shortlineFigures(farm: BenchFarm, size: Size, report: Report) {
  const like = await containerOptions(farm);
  const mib = SHORT[size];
  const sha256 = sha256OfRepeated(SHORT_BLOCK, mib);
  const expected = { steps: 1, logs: { 0: { stdout: sha256, stderr: sha256 } } };
  const theirs = async () => (mib / (await attach(like, printShort(mib), mib * MIB))) * 1000;
  const rounds = { full: 3, small: 1 }[size];
  const ours = () => durable(farm, 'shortlines', mib, expected);
  report('shortlines', await medians(rounds, ours, theirs));
}

const mibOf = (blocks: number) => (blocks * BLOCK.length) / MIB;

/** Both from the trigger to the news of the end. */
function hostFigure(size: Size, report: Report): Promise<void> {
  const blocks = { ours: LONG[size], theirs: BUILDBOT_MIB[size] };
  const builder = (count: number) => ({ steps: [{ name: 'print', run: print(count) }] });
  const buildbotFarm = { workers: 1, slots: 1, builders: { log: [print(blocks.theirs)] } };
  return withBuildbot(buildbotFarm, (buildbot) =>
    withFarm({ executor: 'host', builders: { log: builder(blocks.ours) } }, async (farm) => {
      const sha256 = sha256OfRepeated(BLOCK, blocks.ours);
      const ours = async () => {
        const { request, posted, ended } = await farm.builds.run('log');
        await check(farm, [request], { steps: 1, logs: { 0: { stdout: sha256 } } });
        return (mibOf(blocks.ours) / (ended - posted)) * 1000;
      };
      const theirs = async (): Promise<number> => {
        if (!buildbot) return Number.NaN;
        const posted = performance.now();
        const { request, ended } = await buildbot.run('log');
        const bytes = blocks.theirs * BLOCK.length;
        await buildbot.check([request], { steps: 1, log: line(LINES - 1, WIDTH), bytes });
        return (mibOf(blocks.theirs) / (ended - posted)) * 1000;
      };
      const rounds = { full: 3, small: 1 }[size];
      const measured = await medians(rounds, ours, buildbot && theirs);
      report('log.host', { ...measured, ...(buildbot ? {} : { note: NO_BUILDBOT }) });
    }),
  );
}

export const log: Row = async (size, report) => {
  await withFarm({ executor: 'docker', builders: logBuilders(size) }, (farm) =>
    logFigures(farm, size, report),
  );
  await hostFigure(size, report);
};

export const shortlines: Row = (size, report) =>
  withFarm({ executor: 'docker', builders: logBuilders(size) }, (farm) =>
    shortlineFigures(farm, size, report),
  );
