/** Whether builds get slower with what is in the database: history. */
import { createHash } from 'node:crypto';
import { check } from '../check.js';
import { fill } from '../fill.js';
import { withFarm, type BenchFarm } from '../farm.js';
import { inTurns, median, medians } from '../measure.js';
import type { Report, Row, Size } from '../row.js';
import { BUILDERS, HOST_FARM, latencies, throughput } from './builds.js';

const TEXT = 'a line of a finished build';
const FARM = {
  ...HOST_FARM,
  builders: { ...BUILDERS, past: { steps: [{ name: 'say', run: `echo ${TEXT}` }] } },
};

interface Plan {
  history: number;
  rounds: number;
  /** Builds of a round. */
  builds: number;
  /** Single builds of a round; with none, their latency is left out. */
  singles: number;
}

async function makeHistory(farm: BenchFarm, count: number): Promise<void> {
  const { request, build } = await farm.builds.run('past');
  await fill(farm.db, build, count);
  // the last of them is a build like any other
  const { rows } = await farm.db.query<{ request: number }>(
    'SELECT request_id AS request FROM builds ORDER BY id DESC LIMIT 1',
  );
  const copied = rows[0]?.request ?? 0;
  if (copied !== request + count)
    throw new Error(`${count} builds were made, the last is ${copied}`);
  const sha256 = createHash('sha256').update(`${TEXT}\n`).digest('hex');
  // of a copy there is no event more than of the first
  await check(farm, [request], { steps: 1, logs: { 0: { stdout: sha256 } } });
  const { rows: events } = await farm.db.query<{ first: number; last: number }>(
    `SELECT (SELECT count(*)::int FROM events WHERE build_id = (SELECT min(id) FROM builds)) AS first,
            (SELECT count(*)::int FROM events WHERE build_id = (SELECT max(id) FROM builds)) AS last`,
  );
  if (events[0]?.last !== events[0]?.first) throw new Error(`events: ${JSON.stringify(events[0])}`);
}

export function historyFigures(plan: Plan, report: Report): Promise<void> {
  const { history, rounds, builds, singles } = plan;
  return withFarm(FARM, (empty) =>
    withFarm(FARM, async (old) => {
      await makeHistory(old, history);
      report(
        'history',
        await medians(
          rounds,
          () => throughput(old, 'one', builds),
          () => throughput(empty, 'one', builds),
        ),
      );
      if (singles === 0) return;
      const both = await inTurns(
        rounds,
        () => latencies(old, singles),
        () => latencies(empty, singles),
      );
      report('history.latency', { value: median(both.ours), peerValue: median(both.theirs) });
    }),
  );
}

const PLANS: Record<Size, Plan> = {
  full: { history: 1_000_000, rounds: 7, builds: 600, singles: 40 },
  small: { history: 2000, rounds: 1, builds: 40, singles: 10 },
};

export const history: Row = (size, report) => historyFigures(PLANS[size], report);
