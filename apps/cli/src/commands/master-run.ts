import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli } from '../cli.js';
import { programOf } from '../programs.js';
import { runProgram } from '../up/run-program.js';

export function addMaster(program: Command, { terminal, exit }: Cli): void {
  program
    .command('master')
    .description('run a master; it is configured by its environment (docs/configuration.md)')
    .option('--port <number>', 'as IMPGEM_PORT')
    .option('--host <address>', 'as IMPGEM_HOST')
    .option('--data <folder>', 'as IMPGEM_DATA')
    .action(async (options: { port?: string; host?: string; data?: string }) => {
      const env = {
        IMPGEM_PORT: options.port,
        IMPGEM_HOST: options.host,
        IMPGEM_DATA: named(options.data),
      };
      exit(await runProgram(terminal, programOf('master'), onlyGiven(env)));
    });
}

/** Flags that were not given leave the environment as it is. */
export function onlyGiven(env: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** A data folder that a flag names, by its whole path: the programs distrust one that they find by themselves. */
export const named = (folder: string | undefined): string | undefined =>
  folder === undefined ? undefined : resolve(folder);
