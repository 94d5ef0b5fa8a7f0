import { every, type Builder } from '@impgem/client';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { ago, table } from '../terminal.js';

export function addBuilders(program: Command, { terminal }: Cli): void {
  program
    .command('builders')
    .description('list the builders')
    .action(async (_: object, command: Command) => {
      const { client, json } = connect(command);
      const builders: Builder[] = [];
      for await (const builder of every((after) =>
        client.builders.list(after === undefined ? {} : { after }),
      ))
        builders.push(builder);
      if (json) return terminal.json(builders);
      const rows = builders.map(({ name, lastBuild, pending, running, description }) => [
        name,
        lastBuild ? `#${lastBuild.number} ${lastBuild.result ?? lastBuild.state}` : '-',
        ago(lastBuild?.createdAt ?? null),
        String(pending),
        String(running),
        description ?? '',
      ]);
      table(terminal, ['builder', 'last', 'when', 'waiting', 'running', 'description'], rows);
    });
}
