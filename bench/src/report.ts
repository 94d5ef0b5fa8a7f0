/**
 * Writes docs/benchmarks.md and its plots from the results of a run, and of earlier ones on the same machine, which
 * docs/benchmarks.json keeps. What stands in bench/profiles/<figure>.md, why
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
const RECORD = join(DOCS, 'benchmarks.json');

const HEAD = `# Benchmarks

<!-- Written by \`npm run bench -- all\`, and for the rows that are named with --write; do not edit. -->

Everything ran on one quiet machine, the load, the farm and its database together. A figure that has a peer was measured in turns with it, in
one run; both are medians, and the first turn of each was thrown away. **ratio** is value ÷ peer's value. The **bar** is what
must be reached, the **goal** what we would like. Every build that was counted was checked afterwards: its rows, its
events, its log (bench/README.md says how, and how to run this).
`;

const show = (value: number | null) => (value === null ? '—' : String(value));
const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
const judged = (met: boolean | null) => (met === null ? '—' : met ? 'yes' : '**no**');

function table(results: readonly Kept[]): string {
  const head = [
    'bench',
    'value',
    'unit',
    "peer's value",
    'ratio',
    'bar',
    'met',
    'goal',
    'met',
    'on',
  ];
  const rows = results.map((one) => [
    one.name,
    show(one.value),
    one.unit,
    show(one.peerValue),
    show(one.ratio),
    one.bar,
    judged(one.met),
    one.goal,
    judged(one.goalMet),
    one.day,
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

/** A result, and the day that it was measured on. */
interface Kept extends Result {
  day: string;
}

interface Page {
  machine: string;
  /** What the databases have said of themselves. */
  databases: string[];
  results: Kept[];
}

/** What was measured on this machine before, and now, in the order of the figures. */
function merged({ machine, databases, results }: Page): Page {
  const before = existsSync(RECORD) && (JSON.parse(readFileSync(RECORD, 'utf8')) as Page);
  if (!before || before.machine !== machine) return { machine, databases, results };
  const all = new Map([...before.results, ...results].map((one) => [one.name, one]));
  return {
    machine,
    databases: [...new Set([...before.databases, ...databases])],
    results: Object.keys(FIGURES).flatMap((name) => all.get(name) ?? []),
  };
}

/** `databases`: what those of this run have said of themselves. */
export async function writePage(
  machine: string,
  databases: readonly string[],
  measured: readonly Result[],
) {
  const day = new Date().toISOString().slice(0, 10);
  const record = merged({
    machine,
    databases: [...databases],
    results: measured.map((one) => ({ ...one, day })),
  });
  const { results } = record;
  writeFileSync(RECORD, await format(JSON.stringify(record), { parser: 'json', printWidth: 100 }));
  const plots = [
    ['bars', 'How many times better than the bar', besideBars(results)],
    ['peers', 'How many times better than the peer', besidePeers(results)],
  ] as const;
  for (const [name, title, points] of plots)
    writeFileSync(join(DOCS, `images/benchmarks-${name}.svg`), plot(title, points));
  const text = [
    HEAD,
    [machine, ...record.databases].map((line) => `- ${line}`).join('\n'),
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
