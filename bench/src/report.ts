import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { format } from 'prettier';
import type { Measurement } from './measure.js';

const HEAD = `# Benchmarks

<!-- Written by \`npm run bench -- --write\`; do not edit. -->

Each figure is a median, measured in turns with its peer in one run on one machine; ratio = value ÷ peer's value. Every build that was
counted had its rows and its log afterwards. PostgreSQL ran with \`synchronous_commit=on\`.

- **container**: trigger to end of a build of one step in a container, with network, volume, limits and policy on; beside
  \`docker run --rm\` of the same image.
- **latency**: trigger to end of a build of one step on the host, one at a time; beside Buildbot with master, worker and SQLite.
- **dispatch**: 50 such builds asked for at once, one POST each, on two slots; beside Buildbot with as many.

`;

const row = (cells: readonly unknown[]) => `| ${cells.join(' | ')} |`;

/** Rows of the page as it is, by name. */
function rowsOf(page: string): Map<string, string> {
  const rows = page
    .split('\n')
    .filter((line) => /^\| [a-z]+ +\|/.test(line) && !line.startsWith('| name'));
  return new Map(rows.map((line) => [line.split('|')[1]?.trim() ?? '', line]));
}

/** Writes the rows of what was measured into the page; others stay. */
export async function writePage(path: string, measured: readonly Measurement[]): Promise<void> {
  const rows = rowsOf(existsSync(path) ? readFileSync(path, 'utf8') : '');
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 1024 ** 3)} GiB, Linux ${release()}`;
  const day = new Date().toISOString().slice(0, 10);
  for (const one of measured) {
    const cells = [
      one.name,
      one.value,
      one.unit,
      one.peer,
      one.peerValue ?? '—',
      one.ratio ?? '—',
      one.goal,
    ];
    rows.set(one.name, row([...cells, `${day}, Node ${process.versions.node}, ${machine}`]));
  }
  const head = ['name', 'value', 'unit', 'peer', "peer's value", 'ratio', 'goal', 'when and where'];
  const table = [
    row(head),
    row(head.map(() => '---')),
    ...[...rows].sort().map(([, line]) => line),
  ];
  const text = `${HEAD}${table.join('\n')}\n`;
  writeFileSync(path, await format(text, { parser: 'markdown', printWidth: 100 }));
}
