/** The farm beside which others misbehave: it goes on building, and what that takes is measured. */
import type { BuildRequest } from '@impgem/client';
import { startFarm, type Farm } from '../farm.js';
import { descriptors, rssBytes } from '../process-facts.js';

/** Lines that each build writes; its log is compared to the byte. */
const LINES = 200;
const SAMPLE_MS = 250;

export const NORMAL = 'normal';

export const NORMAL_BUILDER = {
  image: 'busybox:1.37',
  labels: [NORMAL],
  steps: [
    { name: 'count', run: `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo "line $i"; done` },
  ],
};

const EXPECTED = Array.from({ length: LINES }, (_, n) => `line ${n + 1}\n`).join('');

export interface Measured {
  builds: number;
  /** From the request to the finished build, in milliseconds, sorted. */
  latenciesMs: number[];
  /** The most memory that the master was seen with, in bytes. */
  masterRss: number;
  /** What was wrong: a result, an attempt, a byte. */
  problems: string[];
}

export class NormalFarm {
  private constructor(readonly farm: Farm) {}

  static async start(builders: Record<string, object>): Promise<NormalFarm> {
    const farm = await startFarm({
      executor: 'docker',
      workers: 0,
      workerEnv: { IMPGEM_WORKER_SLOTS: '2' },
    });
    await farm.addWorker(NORMAL, { env: { IMPGEM_WORKER_LABELS: NORMAL } });
    await farm.apply(JSON.stringify({ builders: { normal: NORMAL_BUILDER, ...builders } }));
    return new NormalFarm(farm);
  }

  get masterPid(): number {
    return this.farm.master.pid;
  }

  /** Builds one after the other for so long; `signal` ends it early. */
  async measure(seconds: number, signal: AbortSignal): Promise<Measured> {
    const measured: Measured = { builds: 0, latenciesMs: [], masterRss: 0, problems: [] };
    const sample = (): void => {
      measured.masterRss = Math.max(measured.masterRss, rssBytes(this.masterPid));
    };
    const timer = setInterval(sample, SAMPLE_MS);
    try {
      const end = Date.now() + seconds * 1000;
      while (Date.now() < end && !signal.aborted) await this.#build(measured);
    } finally {
      clearInterval(timer);
    }
    measured.latenciesMs.sort((a, b) => a - b);
    return measured;
  }

  async #build(measured: Measured): Promise<void> {
    const start = performance.now();
    const { id } = await this.farm.request('normal');
    const build = await this.farm.untilBuild(id);
    measured.latenciesMs.push(performance.now() - start);
    measured.builds += 1;
    const asked = await this.farm.api<BuildRequest>('GET', `/build-requests/${id}`);
    if (build.result !== 'success') measured.problems.push(`build ${build.id}: ${build.result}`);
    if (asked.builds.length !== 1)
      measured.problems.push(`request ${id}: ${asked.builds.length} attempts`);
    const log = await this.farm.logOf(build, 'count');
    if (!log.includes(EXPECTED)) measured.problems.push(`build ${build.id}: its log is wrong`);
  }

  descriptors(): number {
    return descriptors(this.masterPid);
  }

  stop(): Promise<void> {
    return this.farm.stop();
  }
}

export function percentile(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
