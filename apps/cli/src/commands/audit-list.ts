import type { Command } from 'commander';
import { wholeNumber } from '../arguments.js';
import { connect, type Cli } from '../cli.js';
import { table } from '../terminal.js';

export function addAudit(program: Command, { terminal }: Cli): void {
  program
    .command('audit')
    .description('who did what, newest first')
    .option('-n, --limit <number>', 'at most so many, 200 or less', wholeNumber(1, 200), 50)
    .action(async ({ limit }: { limit: number }, command: Command) => {
      const { client, json } = connect(command);
      const { items } = await client.audit({ limit });
      if (json) return terminal.json(items);
      const rows = items.map(({ at, actor, action, target, detail }) => [
        at,
        actor,
        action,
        target,
        JSON.stringify(detail),
      ]);
      table(terminal, ['at', 'who', 'did', 'to', 'with'], rows);
    });
}
