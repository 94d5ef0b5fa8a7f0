import type { Command } from 'commander';
import { wholeNumber } from '../arguments.js';
import { connect, type Cli } from '../cli.js';
import { EXIT, exitOfResult, UsageError } from '../exit-codes.js';
import { watchRequest } from '../watch/watch-build.js';
import { viewFor } from '../watch/view-for.js';

interface Options {
  property: Record<string, string>;
  priority?: number;
  reason?: string;
  watch?: boolean;
}

export function addTrigger(program: Command, { terminal, signal, exit }: Cli): void {
  program
    .command('trigger')
    .description('ask for a build')
    .argument('<builder>')
    .option('-p, --property <name=value>', 'set a property (repeat for more)', property, {})
    .option(
      '--priority <number>',
      'before others of the queue: each step is worth ten minutes',
      wholeNumber(-999_999, 999_999),
    )
    .option('--reason <text>', 'why, for people')
    .option('-w, --watch', "show it live, and end with the build's exit code")
    .action(async (builder: string, options: Options, command: Command) => {
      const { client, json, live } = connect(command);
      const request = await client.requests.submit({
        builder,
        ...(Object.keys(options.property).length > 0 ? { properties: options.property } : {}),
        ...(options.priority === undefined ? {} : { priority: options.priority }),
        ...(options.reason === undefined ? {} : { reason: options.reason }),
      });
      if (!options.watch) {
        if (json) return terminal.json(request);
        terminal.print(String(request.id));
        return terminal.say(`build request ${request.id} of ${builder} is in the queue`);
      }
      const socket = live();
      try {
        const view = viewFor(terminal, json);
        const result = await watchRequest({ client, live: socket, view, signal }, request.id);
        exit(EXIT[exitOfResult(result)].code);
      } finally {
        socket.close();
        if (signal.aborted) terminal.say(`build request ${request.id} goes on without you`);
      }
    });
}

function property(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`${text} is not a property; write -p name=value`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}
