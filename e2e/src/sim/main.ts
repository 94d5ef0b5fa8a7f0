/**
 * `npm run sim -- --seeds N [--seed S] [--bail] [--write]` runs N seeds from S (1) on, on all cores, and ends with 1 when
 * one fails (`--bail`: with the first). `--seed S` alone runs one, and tells what happened in it. `--flaw NAME` plants a
 * mistake (`--flaws` lists them, see `flaws.ts`), `--write` puts the totals into docs/reliability.md.
 */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { flawNames } from './flaws.js';
import { add, noTotals, tableOfTotals, type Totals } from './report.js';
import type { Order, Report } from './seeds.js';
import { writeReliability } from './write.js';

const FAILURES_SHOWN = 10;
/** Fewer seeds than this are not worth another process. */
const SEEDS_WORTH_A_PROCESS = 200;
const SEEDS = fileURLToPath(new URL('./seeds.js', import.meta.url));
const USAGE =
  'npm run sim -- --seeds N [--seed S] [--flaw NAME] [--bail] [--write] | --seed S [--flaw NAME] | --flaws';

const print = (text: string): boolean => process.stdout.write(`${text}\n`);

/** Undefined when the flaws are asked for. */
function options(): { order: Order; bail: boolean; write: boolean } | undefined {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string' },
      seed: { type: 'string' },
      flaw: { type: 'string' },
      flaws: { type: 'boolean', default: false },
      bail: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  if (values.flaws) return undefined;
  const first = Number(values.seed ?? 1);
  const count = Number(values.seeds ?? 1);
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1)
    throw new Error('--seeds and --seed are whole numbers, and there is at least one seed');
  const traced = values.seeds === undefined;
  const { bail, flaw, write } = values;
  return { order: { first, count, traced, flaw }, bail, write };
}

/** One process; resolves when it is through, or was stopped. */
function part(order: Order, told: (report: Report) => void, stop: AbortSignal): Promise<void> {
  const child = fork(SEEDS, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  child.on('message', told);
  child.send(order);
  stop.addEventListener('abort', () => child.kill('SIGKILL'), { once: true });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) =>
      code === 0 || stop.aborted
        ? resolve()
        : reject(new Error(`a part of the seeds ended ${code ?? signal}`)),
    );
  });
}

async function run(order: Order, bail: boolean): Promise<Totals> {
  const totals = noTotals(order.first);
  const start = performance.now();
  const worth = bail ? 1 : Math.ceil(order.count / SEEDS_WORTH_A_PROCESS);
  const parts = Math.min(availableParallelism(), worth);
  const flaw = order.flaw === undefined ? '' : ` --flaw ${order.flaw}`;
  const stop = new AbortController();
  const told = ({ failures, totals: more }: Report) => {
    if (stop.signal.aborted) return;
    for (const { seed, message } of failures.slice(0, FAILURES_SHOWN - totals.failed)) {
      print(`seed ${seed}: ${message}`);
      if (!order.traced) print(`  again: npm run sim -- --seed ${seed}${flaw}`);
    }
    add(totals, more);
    if (bail && totals.failed > 0) stop.abort();
  };
  await Promise.all(
    Array.from({ length: parts }, (_, at) => part({ ...order, at, of: parts }, told, stop.signal)),
  );
  totals.tookMs = performance.now() - start;
  return totals;
}

async function main(): Promise<number> {
  let asked;
  try {
    asked = options();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`);
    return 2;
  }
  if (!asked) {
    for (const name of flawNames()) print(name);
    return 0;
  }
  const totals = await run(asked.order, asked.bail);
  if (!asked.order.traced) print(tableOfTotals(totals));
  if (asked.write) writeReliability(totals);
  print(`${totals.passed} seeds passed, ${totals.failed} failed`);
  return totals.failed > 0 ? 1 : 0;
}

process.exitCode = await main();
