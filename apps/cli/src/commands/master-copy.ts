import type { Command } from 'commander';
import type { Cli } from '../cli.js';
import { programOf } from '../programs.js';
import { runProgram } from '../up/run-program.js';
import { named, onlyGiven } from './master-run.js';

/** `impgem backup` and `impgem restore`: the master program itself copies the farm, so no client is needed. */
export function addBackupAndRestore(program: Command, { terminal, exit }: Cli): void {
  const does = {
    backup:
      'write the farm (database, artifacts, logs) into a folder; again into the same one copies only files that are new',
    restore: 'fill an empty farm from such a folder',
  };
  for (const direction of ['backup', 'restore'] as const)
    program
      .command(`${direction} <folder>`)
      .description(does[direction])
      .option('--data <folder>', 'as IMPGEM_DATA')
      .action(async (folder: string, options: { data?: string }) => {
        const env = onlyGiven({ IMPGEM_DATA: named(options.data) });
        exit(await runProgram(terminal, programOf('master'), env, [direction, folder]));
      });
}
