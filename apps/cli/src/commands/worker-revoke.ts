import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';

export function addWorkerRevoke(workers: Command, { terminal }: Cli): void {
  workers
    .command('revoke')
    .description(
      "take a worker's credential away: it is cut off at once, its builds are tried again elsewhere",
    )
    .argument('<name>')
    .action(async (name: string, _: object, command: Command) => {
      await connect(command).client.workers.revoke(name);
      terminal.say(`${name} is cut off`);
    });
}
