import { ProblemError } from '@impgem/client';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { EXIT } from '../exit-codes.js';
import { sayProblem } from '../excerpt.js';
import { readInput } from '../read-input.js';

export function addApply(program: Command, { terminal, exit }: Cli): void {
  program
    .command('apply')
    .description('put a farm file in force, all of it or, with problems, nothing')
    .argument('<file>', 'the farm file; - for standard input')
    .action(async (name: string, _: object, command: Command) => {
      const { client, json } = connect(command);
      const source = await readInput(name);
      try {
        const applied = await client.farm.apply(source);
        if (json) return terminal.json(applied);
        const what = applied.changed ? 'in force now' : 'in force already';
        terminal.print(`version ${applied.version} is ${what}: ${applied.builders.join(', ')}`);
      } catch (error) {
        if (!(error instanceof ProblemError) || error.code !== 'invalid-farm-file') throw error;
        for (const problem of error.problems) sayProblem(terminal, problem, { name, source });
        const many =
          error.problems.length === 1 ? 'a problem' : `${error.problems.length} problems`;
        terminal.say(`${terminal.talk.red('error:')} ${many}; nothing was changed`);
        exit(EXIT.refused.code);
      }
    });
}
