import type { Command } from 'commander';
import type { Cli } from '../cli.js';
import { programOf } from '../up/programs.js';
import { runProgram } from '../up/run-program.js';
import { onlyGiven } from './master-run.js';

/** `impgem backup` and `impgem restore`: the master program itself copies its database, so no client is needed. */
export function addBackupAndRestore(program: Command, { exit }: Cli): void {
  const does = {
    backup: 'write all rows of the database to a file; the blobs folder is copied by you',
    restore: 'fill an empty database from such a file',
  };
  for (const direction of ['backup', 'restore'] as const)
    program
      .command(`${direction} <file>`)
      .description(does[direction])
      .option('--data <folder>', 'as IMPGEM_DATA')
      .action(async (file: string, options: { data?: string }) => {
        const env = onlyGiven({ IMPGEM_DATA: options.data });
        exit(await runProgram(programOf('master'), env, [direction, file]));
      });
}
