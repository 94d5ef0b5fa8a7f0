import type { Scope } from '@impgem/client';
import { Option, type Command } from 'commander';
import { wholeNumber } from '../arguments.js';
import { connect, type Cli } from '../cli.js';

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
    .option(
      '--expires <days>',
      'how long it is valid; for ever when left out',
      wholeNumber(1, 99_999),
    )
    .action(async (name: string, options: { scope: Scope; expires?: number }, command: Command) => {
      const { client, json } = connect(command);
      const { expires, scope } = options;
      const token = await client.tokens.create({
        name,
        scopes: [scope],
        ...(expires === undefined ? {} : { expiresIn: expires * 86_400 }),
      });
      if (json) terminal.json(token);
      else terminal.print(token.token);
      terminal.say(`token ${token.id} (${name}, ${scope}): keep it, it is not shown again`);
    });
}
