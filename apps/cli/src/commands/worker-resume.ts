import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';

export function addWorkerResume(workers: Command, { terminal }: Cli): void {
  workers
    .command('resume')
    .description('end the quarantine of a worker: it is given builds again')
    .argument('<name>')
    .action(async (name: string, _: object, command: Command) => {
      const { client, json } = connect(command);
      const worker = await client.workers.resume(name);
      if (json) return terminal.print(JSON.stringify(worker));
      terminal.say(`${worker.name} is ${worker.state}`);
    });
}
