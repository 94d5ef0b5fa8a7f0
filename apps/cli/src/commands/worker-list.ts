import { every, type Worker } from '@impgem/client';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { ago, size, table } from '../terminal.js';

/** Less than this is on its way in a moment, and not worth a line. */
const WORTH_TELLING = 1024 ** 2;

/** `workers` alone lists. */
export function addWorkerList(workers: Command, { terminal }: Cli): void {
  workers
    .command('list', { isDefault: true })
    .description('list the workers')
    .action(async (_: object, command: Command) => {
      const { client, json } = connect(command);
      const all: Worker[] = [];
      for await (const worker of every((after) =>
        client.workers.list(after === undefined ? {} : { after }),
      ))
        all.push(worker);
      if (json) return terminal.print(JSON.stringify(all));
      const rows = all.map((worker) => [
        worker.name,
        worker.state,
        `${worker.running}/${worker.slots}`,
        worker.executor ?? '-',
        worker.labels.join(' '),
        worker.diskFree === null ? '-' : size(worker.diskFree),
        ago(worker.lastSeenAt),
        worker.version ?? '-',
      ]);
      const headings = [
        'worker',
        'state',
        'slots',
        'executor',
        'labels',
        'disk free',
        'seen',
        'version',
      ];
      table(terminal, headings, rows);
      for (const { name, lowDisk } of all)
        if (lowDisk !== null) terminal.say(`${name} takes no work: ${lowDisk}`);
      // The farm waits for nothing from one that is offline: it holds no build.
      for (const { name, state, spooled } of all)
        if (state !== 'offline' && spooled !== null && spooled >= WORTH_TELLING)
          terminal.say(`${name} has ${size(spooled)} of output to send`);
    });
}
