import { writePart } from '../reliability.js';
import { tableOfTotals, type Totals } from './report.js';

const PART = {
  title: 'Simulation',
  begin: '<!-- simulation: written by `npm run sim -- --write` -->',
  end: '<!-- end of simulation -->',
};

/** Puts the totals into docs/reliability.md. */
export function writeReliability(totals: Totals): void {
  const { passed, failed, first, count } = totals;
  const command = `npm run sim -- --seed ${first} --seeds ${count}`;
  writePart(PART, [
    `\`${command}\`: ${passed} seeds passed, ${failed} failed.`,
    tableOfTotals(totals),
  ]);
}
