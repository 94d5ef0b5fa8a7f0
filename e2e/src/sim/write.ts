import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { tableOf, type Totals } from './report.js';

const PAGE = fileURLToPath(new URL('../../../docs/reliability.md', import.meta.url));
const BEGIN = '<!-- simulation: written by `npm run sim -- --write` -->';
const END = '<!-- end of simulation -->';

/** Puts the totals between the marks of docs/reliability.md; adds the page or the part when it is not there. */
export function writeReliability(totals: Totals): void {
  const { passed, failed, first, count } = totals;
  const part = [
    BEGIN,
    '',
    `\`npm run sim -- --seed ${first} --seeds ${count}\`: ${passed} seeds passed, ${failed} failed.`,
    '',
    tableOf(totals),
    '',
    END,
  ].join('\n');
  const page = existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '# Reliability\n';
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  const next =
    begin >= 0 && end > begin
      ? page.slice(0, begin) + part + page.slice(end + END.length)
      : `${page.trimEnd()}\n\n## Simulation\n\n${part}\n`;
  writeFileSync(PAGE, next);
}
