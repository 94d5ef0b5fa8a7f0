import { every, type Client, type Worker } from '@impgem/client';
import type { FarmObject, Removal } from '@impgem/kit';
import type { Command } from 'commander';
import { connect, type Cli } from '../cli.js';
import { EXIT } from '../exit-codes.js';
import { ago, table } from '../terminal.js';
import { askProgram } from '../up/ask-program.js';
import { programOf } from '../programs.js';

interface Leftover extends FarmObject {
  /** Why nobody needs it. */
  why: string;
}

export function addWorkerPrune(workers: Command, { terminal, exit }: Cli): void {
  workers
    .command('prune')
    .description(
      "list what workers that will not come back left in this machine's Docker Engine; with --yes remove it",
    )
    .option('--yes', 'remove what is listed')
    .action(async (options: { yes?: boolean }, command: Command) => {
      const { client, json } = connect(command);
      const care = programOf('worker', 'care');
      const { farm } = await client.about();
      // Objects first: a worker that comes meanwhile has none among them.
      const objects = await askProgram<FarmObject[]>(care, ['objects', farm]);
      const left = leftovers(objects, await knownWorkers(client), Date.now());
      const removed =
        options.yes && left.length > 0
          ? await askProgram<Removal[]>(care, ['remove', farm], { input: left })
          : [];
      const problems = new Map(removed.map(({ id, problem }) => [id, problem]));
      if (json) terminal.json({ leftovers: left, removed });
      else if (left.length > 0)
        table(
          terminal,
          ['object', 'name', 'role', 'build', 'why'],
          left.map(({ kind, id, name, role, build, why }) => {
            const problem = problems.get(id);
            return [
              kind,
              name,
              role,
              String(build ?? '-'),
              problem ? `${why}; stays: ${problem}` : why,
            ];
          }),
        );
      const kept = `${objects.length - left.length} objects of workers of the farm are in use`;
      if (left.length === 0) return terminal.say(`nothing is left behind in this engine; ${kept}`);
      if (!options.yes) return terminal.say(`--yes removes these ${left.length}; ${kept}`);
      const failed = removed.filter(({ problem }) => problem !== undefined).length;
      terminal.say(`removed ${removed.length - failed} of ${left.length}; ${kept}`);
      if (failed > 0) exit(EXIT.exception.code);
    });
}

/** Those that are not revoked, by id. */
async function knownWorkers(client: Client): Promise<Map<string, Worker>> {
  const known = new Map<string, Worker>();
  for await (const worker of every((after) =>
    client.workers.list(after === undefined ? {} : { after }),
  ))
    known.set(worker.id, worker);
  return known;
}

/**
 * What no worker will ask for again. A worker that is there sweeps its engine itself, whatever its labels say; one that
 * is away may come back and take its builds up, until they have expired.
 */
export function leftovers(
  objects: readonly FarmObject[],
  known: ReadonlyMap<string, Pick<Worker, 'name' | 'state'>>,
  now: number,
): Leftover[] {
  return objects.flatMap((object) => {
    const worker = known.get(object.worker);
    if (!worker) return [{ ...object, why: 'its worker was revoked' }];
    const expired = object.expires !== null && Date.parse(object.expires) < now;
    if (worker.state !== 'offline' || !expired) return [];
    return [
      { ...object, why: `${worker.name} is offline, and it expired ${ago(object.expires, now)}` },
    ];
  });
}
