/** Reading in a log of ten million lines: biglog. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogSearchResult } from '@impgem/client';
import { check } from '../check.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { block, repeat, writeBlock } from '../lines.js';
import { median, timed } from '../measure.js';
import { peakRss } from '../process.js';
import { rssBytes } from '@impgem/e2e';
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

    await sealed(farm);
    const { pid } = farm.farm.master;
    const idle = rssBytes(pid);
    const head = await headLines(farm, build, bytes);
    const log: BigLog = { farm, build, bytes, head, before, blocks };
    const { value, bytes: most } = await peakRss(pid, async () => {
      const linesMs = await lines(log);
      const tailMs = await tail(log);
      const searchMs = await search(log);
      // reads all of it, and checks it
      await check(farm, [request], { steps: 1, logs: { 0: { stdout: sha256 } } });
      return { linesMs, tailMs, searchMs };
    });
    const megabytes = (blocks * bytes.length + NEEDLE.length) / 1e6;
    report('biglog', { value: value.linesMs });
    report('biglog.tail', { value: value.tailMs });
    report('biglog.search', { value: megabytes / (value.searchMs / 1000) });
    report('biglog.rss', { value: (most - idle) / MIB });
  });
};

interface BigLog {
  farm: BenchFarm;
  build: number;
  /** Of a block. */
  bytes: Buffer;
  /** Lines that the farm says before the first of the step's. */
  head: number;
  /** Blocks before the needle, and in all. */
  before: number;
  blocks: number;
}

const LOG = (build: number, query: string) => `/builds/${build}/steps/0/log${query}`;

/** Readers of a finished build find its log sealed; that is done a little after its end. */
async function sealed({ farm }: BenchFarm): Promise<void> {
  for (let n = 0; n < 600; n++) {
    const headers = { authorization: `Bearer ${farm.token}` };
    const metrics = await (await fetch(`${farm.url}/metrics`, { headers })).text();
    if (/^impgem_logs_sealed_total\{into="file"\} [1-9]/m.test(metrics)) return;
    await sleep(500);
  }
  throw new Error('the log was not sealed');
}

async function headLines({ farm }: BenchFarm, build: number, bytes: Buffer): Promise<number> {
  const answer = await farm.fetch('GET', LOG(build, '?lines=1-20'));
  const [head = ''] = (await answer.text()).split(bytes.toString('utf8', 0, WIDTH));
  return head.split('\n').length - 1;
}

/** Milliseconds to get a screen of lines, at places all over the log. */
async function lines({ farm, build, bytes, head, before, blocks }: BigLog): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < 20; n++) {
    const block = Math.floor((blocks * n) / 20);
    const first = head + block * LINES + (block >= before ? 1 : 0) + 1;
    const query = `?lines=${first}-${first + TAIL_LINES - 1}`;
    times.push(
      await timed(async () => {
        const answer = await farm.farm.fetch('GET', LOG(build, query));
        const body = Buffer.from(await answer.arrayBuffer());
        if (!body.equals(bytes.subarray(0, TAIL_LINES * WIDTH)))
          throw new Error(`${query}: ${answer.status} ${body.length} bytes`);
      }),
    );
  }
  return median(times);
}

/** Milliseconds to find the needle and to know that there is no other. */
async function search({ farm, build, head, before }: BigLog): Promise<number> {
  return timed(async () => {
    const found: number[] = [];
    for (let after: string | null = '0'; after !== null;) {
      // The farm says the command, in which it stands too.
      const query = `?q=${NEEDLE.trim()}&stream=stdout&after=${after}`;
      const answer = await farm.farm.fetch('GET', LOG(build, query.replace('?', '/search?')));
      const result = (await answer.json()) as LogSearchResult;
      found.push(...result.matches.map(({ line }) => line));
      after = result.next;
    }
    if (found.join() !== String(head + before * LINES + 1))
      throw new Error(`search: ${found.join()}`);
  });
}

/** Milliseconds to get the last lines. */
async function tail({ farm, build, bytes }: BigLog): Promise<number> {
  const expected = bytes.subarray(-TAIL_LINES * WIDTH);
  const times: number[] = [];
  for (let n = 0; n < 20; n++)
    times.push(
      await timed(async () => {
        const answer = await farm.farm.fetch('GET', LOG(build, `?tail=${TAIL_LINES}`));
        const body = Buffer.from(await answer.arrayBuffer());
        if (!body.equals(expected)) throw new Error(`tail: ${answer.status} ${body.length} bytes`);
      }),
    );
  return median(times);
}
