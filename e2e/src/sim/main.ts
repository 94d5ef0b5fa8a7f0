/**
 * `npm run sim -- [--seeds N] [--seed S] [--flaw NAME] [--trace] [--write]`: runs N seeds, beginning with S (1). Ends
 * with 1 when one fails, and prints how to see it again. `--trace` tells what happened, `--flaw` plants a mistake,
 * `--write` puts the totals into docs/reliability.md.
 */
import { parseArgs } from 'node:util';
import { runSeeds, tableOf, type Totals } from './report.js';
import { simulate, type Flaws } from './simulate.js';
import { writeReliability } from './write.js';

const FAILURES_SHOWN = 10;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    flaw: { type: 'string' },
    trace: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});

const flaws: Flaws = values.flaw ? { [values.flaw]: true } : {};
const print = (text: string): boolean => process.stdout.write(`${text}\n`);

function main(): number {
  const first = Number(values.seed);
  const count = Number(values.seeds);
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
    process.stderr.write('--seeds and --seed are whole numbers\n');
    return 2;
  }
  if (values.trace) return trace(first);
  const totals = runSeeds(first, count, {
    flaws,
    failed: ({ seed, violation }, soFar) => {
      if (soFar > FAILURES_SHOWN) return;
      print(`seed ${seed}: ${violation?.message}`);
      print(
        `  again: npm run sim -- --seed ${seed} --trace${values.flaw ? ` --flaw ${values.flaw}` : ''}`,
      );
    },
  });
  print(tableOf(totals));
  if (values.write) writeReliability(totals);
  return summary(totals);
}

function trace(seed: number): number {
  const report = simulate(seed, { flaws, traced: true });
  for (const line of report.trace) print(line);
  print(report.violation ? `FAILED: ${report.violation.message}` : 'at rest, all invariants hold');
  print(report.violation ? '0 seeds passed, 1 failed' : '1 seeds passed, 0 failed');
  return report.violation ? 1 : 0;
}

function summary({ passed, failed }: Totals): number {
  print(`${passed} seeds passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = main();
