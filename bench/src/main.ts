/**
 * `npm run bench -- NAME… [--json] [--write] [--small]`: measures rows of the table, each beside its peer, and prints a
 * sentence, or with --json a JSON line, for every figure. `all` measures every row and writes docs/benchmarks.md;
 * --write puts the rows that are named into it, beside those measured on this machine before; `smoke` takes a minute and
 * ends 1 when a ratio is far off. --small does little work, to try a row out.
 */
import { parseArgs } from 'node:util';
import { durabilities } from './farm.js';
import { FIGURES } from './figures.js';
import { machine } from './machine.js';
import { judge, sentence, type Result } from './result.js';
import { ROWS } from './rows.js';
import { smoke } from './smoke.js';
import { endOnSignals } from './with-end.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
  },
});
const size = values.small ? 'small' : 'full';
const isAll = positionals.includes('all');
const names = isAll ? Object.keys(ROWS) : positionals;
const unknown = names.filter((name) => name !== 'smoke' && !ROWS[name]);
if (names.length === 0 || unknown.length > 0) {
  if (unknown.length > 0) console.error(`there is no benchmark ${unknown.join(', ')}`);
  console.error(
    `npm run bench -- NAME… [--json] [--write] [--small]\nNAME: all, smoke, ${Object.keys(ROWS).join(', ')}`,
  );
  process.exit(2);
}

endOnSignals();
const results: Result[] = [];
const tell = (result: Result) => {
  results.push(result);
  console.log(values.json ? JSON.stringify(result) : sentence(result));
};

const where = await machine();
console.error(where);
const writes = (isAll || values.write) && size === 'full';
for (const name of names) {
  console.error(`${name} …`);
  const row = ROWS[name];
  try {
    if (row) await row(size, (figure, measured) => tell(judge(figure, FIGURES[figure], measured)));
    else await smoke(tell);
  } catch (error) {
    // What others have measured in an hour is not lost for it.
    console.error(error);
    process.exitCode = 1;
  }
  if (!writes) continue;
  // it brings a chart library along
  const { writePage } = await import('./report.js');
  await writePage(where, [...durabilities], results);
}
if (names.includes('smoke') && results.some(({ met }) => met !== true)) process.exitCode = 1;
