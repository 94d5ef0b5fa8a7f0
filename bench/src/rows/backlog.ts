/** What a claim costs with many requests waiting: backlog. */
import { withFarm, type BenchFarm } from '../farm.js';
import { inTurns, median, percentile, timed } from '../measure.js';
import type { Report, Row, Size } from '../row.js';
import { WireWorker } from '../wire-worker.js';

const BUILDERS = {
  one: { steps: [{ name: 'one', run: 'true' }] },
  nobody: { labels: ['bench=nobody'], steps: [{ name: 'one', run: 'true' }] },
};
/** No worker of the farm's own: what claims is ours. */
const FARM = { executor: 'host', workers: 0, builders: BUILDERS } as const;

const WORKERS = 8;
const FEW = 100;

interface Plan {
  rounds: number;
  /** A round's claims come in so many spells, for what else the database does weighs as much as one of them. */
  spells: number;
  /** Waiting for somebody, and for labels that nobody has. */
  fit: number;
  unfit: number;
  /** Claims of a spell, of all workers together; fewer than wait in the smaller backlog. */
  claims: number;
  /** Also one at a time. */
  singly: boolean;
}

/** A farm with so many requests waiting, and workers that claim and run nothing. */
class Backlog {
  private constructor(
    private readonly farm: BenchFarm,
    private readonly workers: readonly WireWorker[],
    private readonly template: number,
    private readonly spells: number,
    private readonly claims: number,
  ) {}

  static async make(farm: BenchFarm, plan: Omit<Plan, 'rounds' | 'singly'>) {
    const { fit, unfit, spells, claims } = plan;
    const template = await farm.builds.post('one');
    await copies(farm, template, fit - 1);
    if (unfit > 0) await copies(farm, await farm.builds.post('nobody'), unfit - 1);
    await farm.db.query('VACUUM ANALYZE build_requests');
    const names = Array.from({ length: WORKERS }, (_, n) => `claimer-${n}`);
    const workers = await Promise.all(names.map((name) => WireWorker.connect(farm.farm, name)));
    return new Backlog(farm, workers, template, spells, claims);
  }

  /** Claims a second, with a claim of each worker under way all the time. */
  async throughput(): Promise<number> {
    let ms = 0;
    for (let spell = 0; spell < this.spells; spell++) {
      ms += await timed(() =>
        Promise.all(
          this.workers.map(async (worker) => {
            for (let n = 0; n < this.claims / WORKERS; n++) await worker.claim();
          }),
        ),
      );
      await this.settle();
    }
    return ((this.spells * this.claims) / ms) * 1000;
  }

  /** Milliseconds of each claim, one at a time. */
  async latencies(): Promise<number[]> {
    const found: number[] = [];
    for (let n = 0; n < this.claims; n++)
      found.push((await this.workers[n % WORKERS]?.claim()) ?? Number.NaN);
    await this.settle();
    return found;
  }

  close(): void {
    for (const worker of this.workers) worker.close();
  }

  /** What was claimed has succeeded; as many requests wait as before. */
  private async settle(): Promise<void> {
    const { db } = this.farm;
    await Promise.all(this.workers.map((worker) => worker.finishAll()));
    const { rows } = await db.query<{ good: number; all: number }>(
      `SELECT count(*) FILTER (WHERE result = 'success')::int AS good, count(*)::int AS all FROM builds`,
    );
    if (rows[0]?.good !== rows[0]?.all || rows[0]?.all === 0)
      throw new Error(`claims: ${JSON.stringify(rows[0])}`);
    await copies(this.farm, this.template, this.claims);
  }
}

/** More requests like one that is there. */
async function copies({ db }: BenchFarm, request: number, count: number): Promise<void> {
  await db.query(
    `INSERT INTO build_requests
       (builder_id, farm_version, group_id, properties, reason, priority, rank, submitted_by)
     SELECT builder_id, farm_version, group_id, properties, reason, priority, rank + n, submitted_by
     FROM build_requests CROSS JOIN generate_series(1, $2::int) n WHERE id = $1`,
    [request, count],
  );
}

export async function backlogFigures(plan: Plan, report: Report): Promise<void> {
  await withFarm(FARM, (small) =>
    withFarm(FARM, async (big) => {
      const few = await Backlog.make(small, { ...plan, fit: FEW, unfit: 0 });
      const many = await Backlog.make(big, plan);
      try {
        const both = (take: (backlog: Backlog) => Promise<number | number[]>) =>
          inTurns(
            plan.rounds,
            () => take(many),
            () => take(few),
          );
        const rates = await both((backlog) => backlog.throughput());
        report('backlog', { value: median(rates.ours), peerValue: median(rates.theirs) });
        if (!plan.singly) return;
        const times = await both((backlog) => backlog.latencies());
        report('backlog.p99', {
          value: percentile(times.ours, 0.99),
          peerValue: percentile(times.theirs, 0.99),
        });
      } finally {
        few.close();
        many.close();
      }
    }),
  );
}

const PLANS: Record<Size, Plan> = {
  full: { rounds: 6, spells: 10, fit: 10_000, unfit: 90_000, claims: 80, singly: true },
  small: { rounds: 1, spells: 1, fit: 500, unfit: 4500, claims: 16, singly: true },
};

export const backlog: Row = (size, report) => backlogFigures(PLANS[size], report);
