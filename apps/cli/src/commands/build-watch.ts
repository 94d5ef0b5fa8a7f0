import type { Command } from 'commander';
import { connect, findBuild, type Cli } from '../cli.js';
import { EXIT, exitOfResult } from '../exit-codes.js';
import { viewFor } from '../watch/view-for.js';
import { watchBuild } from '../watch/watch-build.js';

export function addWatch(program: Command, { terminal, signal, exit }: Cli): void {
  program
    .command('watch')
    .description("show a build live, from its beginning, and end with the build's exit code")
    .argument('<build>', 'its id, or BUILDER#NUMBER')
    .action(async (name: string, _: object, command: Command) => {
      const { client, json, live } = connect(command);
      const id = await findBuild(client, name);
      await client.builds.get(id);
      const socket = live();
      try {
        const view = viewFor(terminal, json);
        const result = await watchBuild({ client, live: socket, view, signal }, id);
        exit(EXIT[exitOfResult(result)].code);
      } finally {
        socket.close();
      }
    });
}
