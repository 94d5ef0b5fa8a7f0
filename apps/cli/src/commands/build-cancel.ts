import type { Command } from 'commander';
import { connect, findBuild, titleOf, type Cli } from '../cli.js';
import { UsageError } from '../exit-codes.js';

export function addCancel(program: Command, { terminal }: Cli): void {
  program
    .command('cancel')
    .description('cancel a build, or with --request a build request')
    .argument('<build>', 'its id, or BUILDER#NUMBER')
    .option('--request', 'the number is that of a build request')
    .option('--reason <text>', 'why, for people')
    .action(
      async (name: string, options: { request?: boolean; reason?: string }, command: Command) => {
        const { client, json } = connect(command);
        if (options.request) {
          const request = await client.requests.cancel(requestOf(name), options.reason);
          if (json) return terminal.json(request);
          return terminal.say(
            `build request ${request.id} is ${request.result ?? 'being cancelled'}`,
          );
        }
        const build = await client.builds.cancel(await findBuild(client, name), options.reason);
        if (json) return terminal.json(build);
        terminal.say(`${titleOf(build)} is ${build.result ?? 'being cancelled'}`);
      },
    );
}

function requestOf(name: string): number {
  if (/^\d{1,15}$/.test(name)) return Number(name);
  throw new UsageError(`${name} names no build request; write its number`);
}
