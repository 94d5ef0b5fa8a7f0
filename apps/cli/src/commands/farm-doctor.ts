import type { Finding } from '@impgem/kit';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { examineBy, examineMachine } from '../doctor/examine-machine.js';
import { examineMaster } from '../doctor/examine-master.js';
import { EXIT } from '../exit-codes.js';
import { harmless, type Terminal } from '../terminal.js';
import { named, onlyGiven } from './master-run.js';

export function addDoctor(program: Command, { terminal, exit }: Cli): void {
  program
    .command('doctor')
    .description(
      'look at this machine, the master and its workers; say what is wrong and how to mend it',
    )
    .option('--data <folder>', "the master's data folder, when no master answers; as IMPGEM_DATA")
    .action(async (options: { data?: string }, command: Command) => {
      const connection = connect(command);
      const found = await examineMachine();
      const master = await examineMaster(connection);
      found.push(...master.found);
      // Its own word about its database is better than ours.
      if (!master.answers)
        found.push(
          ...(await examineBy('master', 'main', onlyGiven({ IMPGEM_DATA: named(options.data) }))),
        );
      if (connection.json) terminal.json(found);
      else for (const finding of found) show(terminal, finding);
      if (found.some(({ status }) => status === 'fail')) exit(EXIT.unwell.code);
    });
}

function show({ colour, print }: Terminal, { check, status, text, mend }: Finding): void {
  const paint = { ok: colour.green, warn: colour.yellow, fail: colour.red }[status];
  print(`${paint(status.padEnd(4))}  ${check}: ${harmless(text)}`);
  if (mend !== undefined) print(`      ${colour.dim(`→ ${harmless(mend)}`)}`);
}
