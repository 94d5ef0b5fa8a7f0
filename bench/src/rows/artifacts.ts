/** How fast files come back: artifacts, artifacts.small. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Artifact, BuildDetail, Page } from '@impgem/client';
import { check } from '../check.js';
import { dockerCp, IMAGE, tarPipe, withContainer } from '../docker.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { block, repeat, writeBlock } from '../lines.js';
import { medians, timed } from '../measure.js';
import type { Report, Row, Size } from '../row.js';

const MIB = 1024 * 1024;
const WIDTH = 128;
const LINES = MIB / WIDTH;
const BIG_MIB = { full: 1024, small: 32 };
const SMALL_FILES = { full: 20_000, small: 300 };
const SMALL_BYTES = 2048;

/** A file that is another with every build: the same content would be stored once. */
const writeBig = (mib: number, number: string) =>
  `${writeBlock('block', LINES, WIDTH)}; echo "${number}" > big; (${repeat('block', mib)}) >> big`;

const smallFile = (number: number, i: number) =>
  `${String(number).padStart(8, '0')} ${String(i).padStart(8, '0')} `.padEnd(SMALL_BYTES - 1) +
  '\n';

const writeSmall = (files: number, number: string) =>
  `mkdir small; awk -v b="${number}" 'BEGIN {
     for (i = 0; i < ${files}; i++) {
       f = sprintf("small/%05d", i)
       printf "%08d %08d %${SMALL_BYTES - 19}s\\n", b, i, "" > f
       close(f)
     }
   }'`;

const NUMBER = '$IMPGEM_BUILD_NUMBER';
const ARTIFACTS = 1;

export const artifactBuilders = (size: Size) => ({
  big: {
    image: IMAGE,
    steps: [{ name: 'make', run: writeBig(BIG_MIB[size], NUMBER) }],
    artifacts: ['big'],
  },
  small: {
    image: IMAGE,
    steps: [{ name: 'make', run: writeSmall(SMALL_FILES[size], NUMBER) }],
    artifacts: ['small/*'],
  },
});

async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'impgem-bench-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Milliseconds of the step that collects, which ends when the master has stored everything. */
async function collected(farm: BenchFarm, builder: string) {
  const { request, build } = await farm.builds.run(builder);
  const detail = await farm.farm.api<BuildDetail>('GET', `/builds/${build}`);
  if (detail.result !== 'success') {
    const told = detail.steps[ARTIFACTS]?.reason ?? detail.reason;
    throw new Refusal(`${detail.result}: ${told?.message ?? JSON.stringify(detail.steps)}`);
  }
  const { started, finished } = await farm.builds.stepTimes(build, ARTIFACTS);
  return { request, build, number: detail.number, ms: finished - started };
}

/** The farm would not take them. */
class Refusal extends Error {}

export async function bigFigure(farm: BenchFarm, size: Size, report: Report): Promise<void> {
  const mib = BIG_MIB[size];
  const bytes = block(LINES, WIDTH);
  const perSecond = (ms: number) => (mib / ms) * 1000;
  const ours = async () => {
    const { request, build, number, ms } = await collected(farm, 'big');
    await check(farm, [request], { steps: 2, artifacts: 1, begins: '' });
    const hash = createHash('sha256').update(`${number}\n`);
    for (let n = 0; n < mib; n++) hash.update(bytes);
    await checkContent(farm, build, hash.digest('hex'));
    return perSecond(ms);
  };
  await withContainer(writeBig(mib, 'peer'), async (container) => {
    const theirs = () =>
      withFolder(async (folder) =>
        perSecond(await timed(() => dockerCp(`${container}:/big`, join(folder, 'big')))),
      );
    report('artifacts', await medians({ full: 5, small: 1 }[size], ours, theirs));
  });
}

async function checkContent({ farm }: BenchFarm, build: number, sha256: string): Promise<void> {
  const answer = await farm.fetch('GET', `/builds/${build}/artifacts/big`);
  const hash = createHash('sha256');
  for await (const piece of answer.body ?? []) hash.update(piece as Uint8Array);
  const found = hash.digest('hex');
  if (found !== sha256) throw new Error(`artifact of build ${build}: ${answer.status} ${found}`);
}

async function smallFigure(farm: BenchFarm, size: Size, report: Report): Promise<void> {
  const files = SMALL_FILES[size];
  const perSecond = (ms: number) => (files / ms) * 1000;
  const ours = async () => {
    const { request, build, number, ms } = await collected(farm, 'small');
    await check(farm, [request], { steps: 2, artifacts: files, begins: '' });
    await checkList(farm, build, number, files);
    return perSecond(ms);
  };
  await withContainer(writeSmall(files, '1'), async (container) => {
    const theirs = () =>
      withFolder(async (folder) =>
        perSecond(await timed(() => tarPipe(container, '/small', folder))),
      );
    try {
      report('artifacts.small', await medians({ full: 3, small: 1 }[size], ours, theirs));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      report('artifacts.small', { value: null, note: `${files} files: ${error.message}` });
    }
  });
}

async function checkList({ farm }: BenchFarm, build: number, number: number, files: number) {
  let after = '';
  let seen = 0;
  for (;;) {
    const page = await farm.api<Page<Artifact>>(
      'GET',
      `/builds/${build}/artifacts?limit=200${after}`,
    );
    for (const { path, sha256, size } of page.items) {
      const text = smallFile(number, Number(path.slice('small/'.length)));
      if (size !== SMALL_BYTES || createHash('sha256').update(text).digest('hex') !== sha256)
        throw new Error(`build ${build}: ${path} is not what was written`);
    }
    seen += page.items.length;
    if (page.next === null) break;
    after = `&after=${encodeURIComponent(page.next)}`;
  }
  if (seen !== files) throw new Error(`build ${build}: ${seen} artifacts, not ${files}`);
}

export const artifacts: Row = (size, report) =>
  withFarm({ executor: 'docker', builders: artifactBuilders(size) }, async (farm) => {
    await bigFigure(farm, size, report);
    await smallFigure(farm, size, report);
  });
