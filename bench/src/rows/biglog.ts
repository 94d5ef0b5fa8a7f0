/** Reading in a log of ten million lines: biglog. */
import { createHash } from 'node:crypto';
import { check } from '../check.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { block, repeat, writeBlock } from '../lines.js';
import { median, timed } from '../measure.js';
import { peakRss, rssBytes } from '../process.js';
import type { Row } from '../row.js';

const MIB = 1024 * 1024;
const WIDTH = 107;
/** Lines of a block. */
const LINES = 10_000;
const TAIL_LINES = 100;
/** Three quarters in, on a line of its own. */
const NEEDLE = 'needle-in-a-haystack\n';

const script = (before: number, after: number) =>
  `${writeBlock('block', LINES, WIDTH)}
   ${repeat('block', before)}; printf '${NEEDLE.replace('\n', '\\n')}'; ${repeat('block', after)}`;

export const biglog: Row = (size, report) => {
  const blocks = { full: 1000, small: 10 }[size];
  const before = Math.floor(blocks * 0.75);
  const builders = { big: { steps: [{ name: 'print', run: script(before, blocks - before) }] } };
  // above the default cap of a step's log
  const workerEnv = { IMPGEM_STEP_LOG: '2GiB', IMPGEM_SPOOL_QUOTA: '4GiB' };
  return withFarm({ executor: 'host', builders, workerEnv }, async (farm) => {
    const { request, build } = await farm.builds.run('big');
    const bytes = block(LINES, WIDTH);
    const hash = createHash('sha256');
    for (let n = 0; n < before; n++) hash.update(bytes);
    hash.update(NEEDLE);
    for (let n = before; n < blocks; n++) hash.update(bytes);
    const sha256 = hash.digest('hex');

    const { pid } = farm.farm.master;
    const idle = rssBytes(pid);
    const { value: tailMs, bytes: most } = await peakRss(pid, async () => {
      const times = await tail(farm, build, bytes);
      // reads all of it, and checks it
      await check(farm, [request], { steps: 1, logs: { 0: { stdout: sha256 } } });
      return times;
    });
    const missing = 'there is nothing in the REST interface yet to ask for';
    report('biglog', { value: null, note: `${missing} lines by their numbers` });
    report('biglog.tail', { value: tailMs, note: 'asked for as the last bytes' });
    report('biglog.search', { value: null, note: `${missing} a search` });
    report('biglog.rss', { value: (most - idle) / MIB });
  });
};

/** Milliseconds to get the last lines. */
async function tail({ farm }: BenchFarm, build: number, bytes: Buffer): Promise<number> {
  const expected = bytes.subarray(-TAIL_LINES * WIDTH);
  const times: number[] = [];
  for (let n = 0; n < 20; n++)
    times.push(
      await timed(async () => {
        const answer = await fetch(`${farm.url}/api/v1/builds/${build}/steps/0/log`, {
          headers: {
            authorization: `Bearer ${farm.token}`,
            range: `bytes=-${expected.length}`,
          },
        });
        const body = Buffer.from(await answer.arrayBuffer());
        if (!body.equals(expected)) throw new Error(`tail: ${answer.status} ${body.length} bytes`);
      }),
    );
  return median(times);
}
