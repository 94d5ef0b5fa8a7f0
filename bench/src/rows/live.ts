/** How soon viewers see a line: loglatency, viewers. */
import { withChild } from '../child.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { median, percentile } from '../measure.js';
import { peakRss } from '../process.js';
import { rssBytes } from '@impgem/e2e';
import type { Row } from '../row.js';
import { linesOf, ticker } from '../ticker.js';
import type { ViewersOrder, ViewersTell } from '../viewers.js';
import { watch, type WatchedLog } from '../watch.js';

const MIB = 1024 * 1024;

/** Starts the ticker's build; its first line comes some seconds later. */
async function tick({ farm, builds }: BenchFarm): Promise<{ request: number; log: WatchedLog }> {
  const request = await builds.post('ticker');
  const { id } = await farm.untilBuild(request, ['running']);
  await builds.stepStarted(id, 0);
  return { request, log: { url: farm.url, token: farm.token, build: id, step: 0 } };
}

/** Its build has succeeded, and its log has every line. */
async function checkTicker({ farm, builds }: BenchFarm, request: number, lines: number) {
  const { build } = await builds.end(request);
  const { result } = await farm.api<{ result: string }>('GET', `/builds/${build}`);
  const text = (await farm.log(build, 0, '?stream=stdout')).toString();
  const found = text.split('\n').length - 1;
  if (result !== 'success' || found !== lines)
    throw new Error(`the ticker's build: ${result}, ${found} lines of ${lines}`);
}

export const loglatency: Row = (size, report) => {
  const seconds = { full: 30, small: 3 }[size];
  const lines = linesOf(seconds);
  const builders = { ticker: ticker(seconds) };
  return withFarm({ executor: 'docker', builders }, async (farm) => {
    const { request, log } = await tick(farm);
    const viewer = watch(log, true);
    try {
      await viewer.ended;
    } finally {
      viewer.close();
    }
    if (viewer.reader.lines !== lines)
      throw new Error(`${viewer.reader.lines} lines came, not ${lines}`);
    await checkTicker(farm, request, lines);
    report('loglatency', { value: median(viewer.reader.delaysMs) });
    report('loglatency.p99', { value: percentile(viewer.reader.delaysMs, 0.99) });
  });
};

export const viewers: Row = (size, report) => {
  const { seconds, count, stalled } = {
    full: { seconds: 60, count: 500, stalled: 50 },
    small: { seconds: 3, count: 20, stalled: 2 },
  }[size];
  const lines = linesOf(seconds);
  const builders = { ticker: ticker(seconds) };
  return withFarm({ executor: 'docker', builders }, (farm) =>
    withChild<ViewersTell, void>('viewers', async (child) => {
      const { pid } = farm.farm.master;
      const before = rssBytes(pid);
      const { request, log } = await tick(farm);
      child.say({ log, viewers: count, stalled } satisfies ViewersOrder);
      await child.hear('watching');
      const { value: seen, bytes } = await peakRss(pid, () => child.hear('seen'));
      if (seen.lines.some((found) => found !== lines))
        throw new Error(`viewers saw ${Math.min(...seen.lines)} lines, not ${lines}`);
      await checkTicker(farm, request, lines);
      report('viewers', { value: percentile(seen.delaysMs, 0.99) });
      report('viewers.rss', { value: (bytes - before) / MIB });
    }),
  );
};
