import type { Command } from 'commander';
import { wholeNumber } from '../arguments.js';
import { connect, type Cli } from '../cli.js';

interface Options {
  uses: number;
  expires: number;
  label?: string[];
}

export function addWorkerAdd(workers: Command, { terminal }: Cli): void {
  workers
    .command('add')
    .description('make a registration token, and show what to run on the new machine')
    .argument(
      '[name]',
      'name of the worker, which the token is for; with a * at the end, the beginning of the names of several',
    )
    .option('--uses <number>', 'how many workers may register with it', wholeNumber(1, 999_999), 1)
    .option('--expires <hours>', 'how long it is valid', wholeNumber(1, 999_999), 24)
    .option('--label <label...>', 'the labels its workers may claim; any when left out')
    .action(
      async (name: string | undefined, { uses, expires, label }: Options, command: Command) => {
        const { client, json, target } = connect(command);
        const token = await client.registrationTokens.create({
          uses: uses,
          expiresIn: expires * 3600,
          ...(label ? { labels: label } : {}),
          ...(name === undefined
            ? {}
            : { names: [uses > 1 && !name.endsWith('*') ? `${name}*` : name] }),
        });
        if (json) return terminal.json(token);
        const { say, print, talk } = terminal;
        say(
          talk.dim(
            `valid until ${token.expiresAt}, for ${token.usesLeft} worker(s); on the new machine:`,
          ),
        );
        print(`export IMPGEM_MASTER_URL=${target.url}`);
        print(`export IMPGEM_REGISTRATION_TOKEN=${token.token}`);
        const isHere = /\/\/(127\.|localhost|\[::1\])/.test(target.url);
        // without it the worker refuses to send its token in the clear, and says why
        if (target.url.startsWith('http:') && !isHere) print('export IMPGEM_ALLOW_INSECURE=1');
        // in a clone there; `npx impgem` would run a package of that name of the registry's, with the token
        print(
          `node apps/cli/bin/impgem.js worker --name ${name?.replace('*', '1') ?? 'my-worker'}`,
        );
        if (isHere)
          say(
            talk.yellow(
              'that address is for this machine; on another one write how it reaches the master, which IMPGEM_HOST=0.0.0.0 lets in',
            ),
          );
      },
    );
}
