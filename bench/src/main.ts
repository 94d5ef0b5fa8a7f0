/**
 * `npm run bench -- [NAME…] [--json] [--write] [--rounds N]`: measures, each beside its peer, and prints one JSON line
 * for each (with --json) or a sentence. --write puts the figures into docs/benchmarks.md.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from '@impgem/e2e';
import { BENCHMARKS } from './benchmarks.js';
import type { Measurement } from './measure.js';
import { writePage } from './report.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    rounds: { type: 'string' },
  },
});

const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
const unknown = names.filter((name) => !BENCHMARKS[name]);
if (unknown.length > 0) {
  console.error(
    `no benchmark ${unknown.join(', ')}; there are ${Object.keys(BENCHMARKS).join(', ')}`,
  );
  process.exit(2);
}

const measured: Measurement[] = [];
for (const name of names) {
  const benchmark = BENCHMARKS[name];
  if (!benchmark) continue;
  console.error(`measuring ${name} …`);
  const one = await benchmark.run(values.rounds ? Number(values.rounds) : benchmark.rounds);
  measured.push(one);
  if (values.json) console.log(JSON.stringify(one));
  else {
    const beside =
      one.peerValue === null
        ? `${one.peer} is not installed`
        : `${one.peer} ${one.peerValue} ${one.unit}, ratio ${one.ratio}`;
    console.log(`${name}: ${one.value} ${one.unit} (${beside}; goal ${one.goal})`);
  }
}
if (values.write) await writePage(join(ROOT, 'docs/benchmarks.md'), measured);
