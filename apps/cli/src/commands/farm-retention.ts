import type { RetentionItem, RetentionReport } from '@impgem/client';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { size, table } from '../terminal.js';

export function addRetention(program: Command, { terminal, signal }: Cli): void {
  program
    .command('retention')
    .description('remove what is older than the farm file keeps it')
    .option('--dry-run', 'list what would go; nothing is removed')
    .action(async ({ dryRun }: { dryRun?: boolean }, command: Command) => {
      const { client, json } = connect(command);
      let report = dryRun ? await client.retention.preview() : await client.retention.run();
      let items = report.builders;
      while (report.more && !signal.aborted) {
        if (!json) terminal.say(`${size(bytesOf(items))} so far`);
        report = await client.retention.run();
        items = merged(items, report.builders);
      }
      const whole: RetentionReport = { ...report, builders: items, bytes: bytesOf(items) };
      if (json) return terminal.json(whole);
      if (items.length > 0)
        table(terminal, ['builder', 'builds', 'logs', 'artifacts'], rows(items));
      const what =
        items.length === 0
          ? 'nothing is older than its builder keeps it'
          : `${size(whole.bytes)} ${dryRun ? 'would go' : 'removed'}; content that another build has too stays`;
      terminal.say(`${what}; the master's disk has ${size(whole.disk.freeBytes)} free`);
    });
}

const bytesOf = (items: readonly RetentionItem[]): number =>
  items.reduce((sum, { logBytes, artifactBytes }) => sum + logBytes + artifactBytes, 0);

function cell(count: number, through: number | null, bytes?: number): string {
  if (count === 0) return '-';
  return `${count}${bytes === undefined ? '' : `, ${size(bytes)}`} (up to #${through})`;
}

function rows(items: readonly RetentionItem[]): string[][] {
  return items.map((item) => [
    item.builder,
    cell(item.builds, item.buildsThrough),
    cell(item.logs, item.logsThrough, item.logBytes),
    cell(item.artifacts, item.artifactsThrough, item.artifactBytes),
  ]);
}

/** What went in two answers, one after the other. */
function merged(before: readonly RetentionItem[], after: readonly RetentionItem[]) {
  const all = new Map(before.map((item) => [item.builder, item]));
  for (const item of after) {
    const known = all.get(item.builder);
    if (!known) all.set(item.builder, item);
    else
      all.set(item.builder, {
        builder: item.builder,
        builds: known.builds + item.builds,
        buildsThrough: item.buildsThrough ?? known.buildsThrough,
        logs: known.logs + item.logs,
        logsThrough: item.logsThrough ?? known.logsThrough,
        logBytes: known.logBytes + item.logBytes,
        artifacts: known.artifacts + item.artifacts,
        artifactsThrough: item.artifactsThrough ?? known.artifactsThrough,
        artifactBytes: known.artifactBytes + item.artifactBytes,
      });
  }
  return [...all.values()];
}
