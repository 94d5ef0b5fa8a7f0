import type { Build, BuildQuery, Result } from '@impgem/client';
import { Option, type Command } from 'commander';
import { wholeNumber } from '../arguments.js';
import { connect, titleOf, type Cli } from '../cli.js';
import { ago, duration, table } from '../terminal.js';

const RESULTS = ['success', 'warnings', 'failure', 'exception', 'retry', 'cancelled', 'skipped'];

interface Options {
  builder?: string;
  state?: Build['state'];
  result?: Result;
  limit: number;
}

export function addBuilds(program: Command, { terminal }: Cli): void {
  program
    .command('builds')
    .description('list builds, newest first')
    .option('-b, --builder <name>', 'of one builder')
    .addOption(new Option('--state <state>').choices(['running', 'cancelling', 'finished']))
    .addOption(new Option('--result <result>').choices(RESULTS))
    .option('-n, --limit <number>', 'at most so many, 200 or less', wholeNumber(1, 200), 20)
    .action(async ({ limit, ...of }: Options, command: Command) => {
      const { client, json } = connect(command);
      const query: BuildQuery = { ...of, limit };
      const { items } = await client.builds.list(query);
      if (json) return terminal.json(items);
      const rows = items.map((build) => [
        String(build.id),
        titleOf(build),
        build.result ?? build.state,
        ago(build.createdAt),
        took(build),
        build.worker ?? '-',
        build.reason?.message ?? '',
      ]);
      table(terminal, ['id', 'build', 'result', 'when', 'took', 'worker', 'why'], rows);
    });
}

function took({ startedAt, finishedAt }: Build): string {
  if (startedAt === null) return '-';
  return duration(
    (finishedAt === null ? Date.now() : Date.parse(finishedAt)) - Date.parse(startedAt),
  );
}
