import { every, outputBehind, quarantineText, type Worker } from '@impgem/client';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { ago, size, table } from '../terminal.js';

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
      if (json) return terminal.json(all);
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
      for (const { name, refusedLabels = [] } of all)
        if (refusedLabels.length > 0)
          terminal.say(`${name} is not given the labels ${refusedLabels.join(' ')}`);
      for (const { name, quarantine } of all)
        if (quarantine) terminal.say(`${name} ${quarantineText(quarantine)}`);
      for (const worker of all)
        if (outputBehind(worker) > 0)
          terminal.say(`${worker.name} has ${size(outputBehind(worker))} of output to send`);
    });
}
