/**
 * A process of `main.ts`: runs every second seed, say, and tells what came of them. The simulation is loaded after
 * the mistake was planted, if one was asked for.
 */
import { setImmediate } from 'node:timers/promises';
import { plant } from './flaws.js';
import { add, noTotals, totalsOf, type Totals } from './report.js';

export interface Order {
  first: number;
  count: number;
  /** Prints what happens. */
  traced: boolean;
  flaw: string | undefined;
  /** This process takes each `of`-th seed, from the `at`-th on. */
  at?: number;
  of?: number;
}

/** What came of some seeds. */
export interface Report {
  failures: { seed: number; invariant: string; message: string }[];
  totals: Totals;
}

const TELL_EVERY = 100;

async function run({ first, count, traced, flaw, at = 0, of = 1 }: Order): Promise<void> {
  if (flaw !== undefined) plant(flaw);
  const { simulate } = await import('./simulate.js');
  let news: Report = { failures: [], totals: noTotals(first) };
  const tell = async () => {
    process.send?.(news);
    news = { failures: [], totals: noTotals(first) };
    // So that it goes out before the next seeds.
    await setImmediate();
  };
  for (let seed = first + at; seed < first + count; seed += of) {
    const report = simulate(seed, { traced });
    for (const line of report.trace) process.stdout.write(`${line}\n`);
    const { violation } = report;
    if (violation)
      news.failures.push({ seed, invariant: violation.invariant, message: violation.message });
    add(news.totals, totalsOf(report));
    if (violation || news.totals.count >= TELL_EVERY) await tell();
  }
  await tell();
}

process.once('message', (order) => {
  void run(order as Order).then(() => process.disconnect());
});
