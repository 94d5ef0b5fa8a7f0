/** What connected, idle workers cost the master: fleet. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NewRegistrationToken, WorkerCredential } from '@impgem/client';
import { check } from '../check.js';
import { withChild, type Child } from '../child.js';
import { withFarm, type BenchFarm } from '../farm.js';
import type { FleetOrder, FleetTell } from '../fleet.js';
import { cpuPercent } from '../process.js';
import { rssBytes } from '@impgem/e2e';
import type { Row } from '../row.js';

/** The farm's own worker runs builds; the fleet has no such label, and so stays idle. */
const LABEL = 'bench=runs';
const RUN = 'sleep 0.1';
const FARM = {
  executor: 'host',
  slots: 2,
  workerEnv: { IMPGEM_WORKER_LABELS: LABEL },
  builders: { one: { labels: [LABEL], steps: [{ name: 'one', run: RUN }] } },
} as const;

const REGISTERING = 16;
/** What the storm of their joining has left is collected meanwhile. */
const SETTLE_S = 10;

async function register({ farm }: BenchFarm, count: number): Promise<string[]> {
  const { token } = await farm.api<NewRegistrationToken>('POST', '/registration-tokens', {
    uses: count,
  });
  const tokens: string[] = [];
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const name = `idle-${next++}`;
      const made = await farm.api<WorkerCredential>('POST', '/workers/register', { name }, token);
      tokens.push(made.token);
    }
  };
  await Promise.all(Array.from({ length: REGISTERING }, lane));
  return tokens;
}

/** Cuts all of them while builds run; seconds until the last is back. Every build is checked. */
async function cut(farm: BenchFarm, child: Child<FleetTell>): Promise<number> {
  const over = new AbortController();
  const requests: number[] = [];
  const building = async () => {
    while (!over.signal.aborted) requests.push((await farm.builds.run('one')).request);
  };
  const builds = Promise.all([building(), building()]);
  child.say({ order: 'cut' } satisfies FleetOrder);
  const { seconds } = await child.hear('back').finally(() => over.abort());
  await builds;
  await check(farm, requests, { steps: 1, begins: `$ ${RUN}\n` });
  return seconds;
}

export const fleet: Row = (size, report) => {
  const { count, idleS } = {
    full: { count: 5000, idleS: 60 },
    small: { count: 100, idleS: 3 },
  }[size];
  return withFarm(FARM, (farm) =>
    withChild<FleetTell, void>('fleet', async (child) => {
      const { pid } = farm.farm.master;
      const tokens = await register(farm, count);
      await farm.builds.inFlight('one', 4, 2);
      const before = rssBytes(pid);
      child.say({ order: 'join', url: farm.farm.url, tokens } satisfies FleetOrder);
      const joined = await child.hear('joined');
      await sleep(SETTLE_S * 1000);
      const cpu = await cpuPercent(pid, idleS);
      const bytes = rssBytes(pid) - before;
      const back = await cut(farm, child);
      const { rows } = await farm.db.query<{ here: number }>(
        `SELECT count(*)::int AS here FROM workers WHERE name LIKE 'idle-%' AND disconnected_at IS NULL AND connected_at IS NOT NULL`,
      );
      if (rows[0]?.here !== count)
        throw new Error(`${rows[0]?.here} workers are there, not ${count}`);
      const note = `${count} workers; all had joined after ${joined.seconds.toFixed(1)} s`;
      report('fleet', { value: bytes / count / 1024, note });
      report('fleet.cpu', { value: cpu });
      report('fleet.back', { value: back });
    }),
  );
};
