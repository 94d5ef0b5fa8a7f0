import type { Command } from 'commander';
import type { Cli } from '../cli.js';
import { programOf } from '../programs.js';
import { runProgram } from '../up/run-program.js';
import { named, onlyGiven } from './master-run.js';

interface Options {
  name?: string;
  master?: string;
  data?: string;
  slots?: string;
  labels?: string;
  executor?: string;
}

export function addWorker(program: Command, { terminal, exit }: Cli): void {
  program
    .command('worker')
    .description('run a worker; it is configured by its environment (docs/configuration.md)')
    .option('--master <address>', 'as IMPGEM_MASTER_URL')
    .option('--name <name>', 'as IMPGEM_WORKER_NAME')
    .option('--data <folder>', 'as IMPGEM_WORKER_DATA')
    .option('--slots <number>', 'as IMPGEM_WORKER_SLOTS')
    .option('--labels <a,b>', 'as IMPGEM_WORKER_LABELS')
    .option('--executor <name>', 'as IMPGEM_EXECUTOR')
    .action(async (options: Options) => {
      const env = {
        IMPGEM_MASTER_URL: options.master,
        IMPGEM_WORKER_NAME: options.name,
        IMPGEM_WORKER_DATA: named(options.data),
        IMPGEM_WORKER_SLOTS: options.slots,
        IMPGEM_WORKER_LABELS: options.labels,
        IMPGEM_EXECUTOR: options.executor,
      };
      exit(await runProgram(terminal, programOf('worker'), onlyGiven(env)));
    });
}
