import type { Scope } from '@impgem/client';
import { Option, type Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { UsageError } from '../exit-codes.js';

export function addTokenCreate(tokens: Command, { terminal }: Cli): void {
  tokens
    .command('create')
    .description('make an API token; it is shown this once')
    .argument('<name>')
    .addOption(
      new Option('--scope <scope>', 'what it may do; trigger includes read, admin both')
        .choices(['read', 'trigger', 'admin'])
        .default('read'),
    )
    .option('--expires <days>', 'how long it is valid; for ever when left out')
    .action(async (name: string, options: { scope: Scope; expires?: string }, command: Command) => {
      const { client, json } = connect(command);
      const { expires, scope } = options;
      if (expires !== undefined && !/^[1-9]\d{0,4}$/.test(expires))
        throw new UsageError(`--expires is a number of days, not ${expires}`);
      const token = await client.tokens.create({
        name,
        scopes: [scope],
        ...(expires === undefined ? {} : { expiresIn: Number(expires) * 86_400 }),
      });
      terminal.print(json ? JSON.stringify(token) : token.token);
      terminal.say(`token ${token.id} (${name}, ${scope}): keep it, it is not shown again`);
    });
}
