import { every, type Token } from '@impgem/client';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { ago, table } from '../terminal.js';

/** `token` alone lists. */
export function addTokenList(tokens: Command, { terminal }: Cli): void {
  tokens
    .command('list', { isDefault: true })
    .description('list the API tokens, without their secrets')
    .action(async (_: object, command: Command) => {
      const { client, json } = connect(command);
      const all: Token[] = [];
      for await (const token of every((after) =>
        client.tokens.list(after === undefined ? {} : { after }),
      ))
        all.push(token);
      if (json) return terminal.json(all);
      const rows = all.map((token) => [
        token.id,
        token.name,
        token.scopes.join(' '),
        ago(token.createdAt),
        ago(token.lastUsedAt),
        token.revokedAt ? 'revoked' : (token.expiresAt ?? 'no end'),
      ]);
      table(terminal, ['id', 'name', 'scopes', 'made', 'used', 'valid until'], rows);
    });
}
