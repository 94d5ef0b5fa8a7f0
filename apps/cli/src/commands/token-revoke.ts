import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';

export function addTokenRevoke(tokens: Command, { terminal }: Cli): void {
  tokens
    .command('revoke')
    .description('end an API token, its sessions and live sockets')
    .argument('<id>')
    .action(async (id: string, _: object, command: Command) => {
      await connect(command).client.tokens.revoke(id);
      terminal.say(`token ${id} is revoked`);
    });
}
