import type { StreamName } from '@impgem/client';
import { Option, type Command } from 'commander';
import { connect, findBuild, type Cli } from '../cli.js';
import { UsageError } from '../exit-codes.js';
import { harmless } from '../terminal.js';

export function addLogs(program: Command, { terminal }: Cli): void {
  program
    .command('logs')
    .description('print the log of a step, or of all steps')
    .argument('<build>', 'its id, or BUILDER#NUMBER')
    .argument('[step]', 'name or index; all when left out')
    .addOption(
      new Option('--stream <name>', 'one stream only').choices(['stdout', 'stderr', 'system']),
    )
    .action(async (name: string, which: string | undefined, options: Options, command: Command) => {
      const { client } = connect(command);
      const id = await findBuild(client, name);
      const { steps } = await client.builds.get(id);
      const wanted = steps.filter(
        ({ index, name }) => which === undefined || name === which || String(index) === which,
      );
      if (wanted.length === 0)
        throw new UsageError(
          `the build has no step ${which}; it has ${steps.map((s) => s.name).join(', ')}`,
        );
      for (const step of wanted) {
        if (wanted.length > 1) terminal.say(terminal.talk.bold(`▶ ${harmless(step.name)}`));
        const { body } = await client.builds.log(
          id,
          step.index,
          options.stream ? { stream: options.stream } : {},
        );
        const decoder = new TextDecoder();
        for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>)
          await write(terminal.tty ? harmless(decoder.decode(chunk, { stream: true })) : chunk);
      }
    });
}

interface Options {
  stream?: StreamName;
}

/** Bytes as they are; waits for a reader that is slower. */
function write(chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (process.stdout.write(chunk)) resolve();
    else process.stdout.once('drain', () => resolve());
  });
}
