/**
 * Writes docs/benchmarks.md and its plots from the results of one run. What stands in bench/profiles/<figure>.md, why
 * a figure is what it is, goes into the page for as long as that figure misses its goal.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '@impgem/e2e';
import { format } from 'prettier';
import { FIGURES, type FigureName } from './figures.js';
import { besideBars, besidePeers, plot } from './plots.js';
import type { Result } from './result.js';

const DOCS = join(ROOT, 'docs');
const PROFILES = join(ROOT, 'bench/profiles');

const HEAD = `# Benchmarks

<!-- Written by \`npm run bench -- all\`, or with the rows that are named and --write; do not edit. -->

Everything ran on one machine, the load, the farm and its database together. A figure that has a peer was measured in turns with it, in
one run; both are medians, and the first turn of each was thrown away. **ratio** is value ÷ peer's value. The **bar** is what
must be reached, the **goal** what we would like. Every build that was counted was checked afterwards: its rows, its
events, its log (bench/README.md says how, and how to run this).
`;

const show = (value: number | null) => (value === null ? '—' : String(value));
const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
const judged = (met: boolean | null) => (met === null ? '—' : met ? 'yes' : '**no**');

function table(results: readonly Result[]): string {
  const head = ['bench', 'value', 'unit', "peer's value", 'ratio', 'bar', 'met', 'goal', 'met'];
  const rows = results.map(({ name, value, unit, peerValue, ratio, bar, met, goal, goalMet }) => [
    name,
    show(value),
    unit,
    show(peerValue),
    show(ratio),
    bar,
    judged(met),
    goal,
    judged(goalMet),
  ]);
  return [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');
}

function meanings(results: readonly Result[]): string {
  return results
    .map(({ name, peer, note }) => {
      const { what } = FIGURES[name as FigureName];
      const beside = peer === null ? '' : `; peer: ${peer}`;
      return `- **${name}**: ${what}${beside}.${note === undefined ? '' : ` _${note}._`}`;
    })
    .join('\n');
}

/** Why a figure misses its goal, where somebody has found out. */
function profiles(results: readonly Result[]): string {
  const missed = results.filter(({ goalMet }) => goalMet === false);
  const parts = missed.map(({ name, met }) => {
    const file = join(PROFILES, `${name}.md`);
    const text = existsSync(file) ? readFileSync(file, 'utf8').trim() : 'Not looked into yet.';
    return `### ${name}\n\nMisses its ${met === false ? 'bar' : 'goal'}. ${text}`;
  });
  return parts.length > 0 ? `## What is missed, and why\n\n${parts.join('\n\n')}` : '';
}

export async function writePage(where: readonly string[], results: readonly Result[]) {
  const plots = [
    ['bars', 'How many times better than the bar', besideBars(results)],
    ['peers', 'How many times better than the peer', besidePeers(results)],
  ] as const;
  for (const [name, title, points] of plots)
    writeFileSync(join(DOCS, `images/benchmarks-${name}.svg`), plot(title, points));
  const text = [
    HEAD,
    `${new Date().toISOString().slice(0, 10)}, on\n\n${where.map((line) => `- ${line}`).join('\n')}`,
    table(results),
    ...plots.map(([name, title]) => `![${title}](images/benchmarks-${name}.svg)`),
    '## What is measured',
    meanings(results),
    profiles(results),
  ].join('\n\n');
  writeFileSync(
    join(DOCS, 'benchmarks.md'),
    await format(text, { parser: 'markdown', printWidth: 100, singleQuote: true }),
  );
}
