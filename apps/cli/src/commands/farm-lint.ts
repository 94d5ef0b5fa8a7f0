import { readFarmFile } from '@impgem/pipeline';
import type { Command } from 'commander';
import type { Cli } from '../cli.js';
import { EXIT } from '../exit-codes.js';
import { sayProblem } from '../excerpt.js';
import { readInput } from '../read-input.js';

export function addLint(program: Command, { terminal, exit }: Cli): void {
  program
    .command('lint')
    .description('check a farm file; needs no master')
    .argument('<file>', 'the farm file; - for standard input')
    .action(async (name: string, _: object, command: Command) => {
      const json = command.optsWithGlobals<{ json?: boolean }>().json === true;
      const source = await readInput(name);
      const { farm, problems } = readFarmFile(source);
      if (json) terminal.json({ problems });
      else for (const problem of problems) sayProblem(terminal, problem, { name, source });
      if (problems.length > 0) return exit(EXIT.refused.code);
      if (!json) terminal.say(`${name} is right: ${[...(farm?.builders.keys() ?? [])].join(', ')}`);
    });
}
