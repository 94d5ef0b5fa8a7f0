import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';

export function addWorkerRotate(workers: Command, { terminal }: Cli): void {
  workers
    .command('rotate')
    .description('give a worker a new credential; the old one ends')
    .argument('<name>')
    .action(async (name: string, _: object, command: Command) => {
      const { client, json } = connect(command);
      const credential = await client.workers.rotate(name);
      if (json) terminal.json(credential);
      else terminal.print(credential.token);
      terminal.say("put it into the worker's environment as IMPGEM_WORKER_TOKEN and start it anew");
    });
}
