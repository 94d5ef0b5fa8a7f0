import type { Command } from 'commander';
import { connect, findBuild, titleOf, type Cli } from '../cli.js';

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
          const request = await client.requests.cancel(Number(name), options.reason);
          if (json) return terminal.print(JSON.stringify(request));
          return terminal.say(
            `build request ${request.id} is ${request.result ?? 'being cancelled'}`,
          );
        }
        const build = await client.builds.cancel(await findBuild(client, name), options.reason);
        if (json) return terminal.print(JSON.stringify(build));
        terminal.say(`${titleOf(build)} is ${build.result ?? 'being cancelled'}`);
      },
    );
}
