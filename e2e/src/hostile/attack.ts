/**
 * The process in which an attack runs, so that it shares no event loop with what is measured:
 * `node attack.js KIND JSON`. Prints what it did as one line of JSON when it ends.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { attackAsReader, type ReaderAttack } from './reader.js';
import { run as attackAsWorker, type WorkerAttack } from './worker.js';

const [kind = '', json = '{}'] = process.argv.slice(2);

const ATTACKS: Record<string, (options: never) => Promise<object>> = {
  // Its builds are the attack, which are requested where the farm is measured.
  repository: ({ seconds }: { seconds: number }) => delay(seconds * 1000, { seconds }),
  reader: (options: ReaderAttack) => attackAsReader(options),
  worker: (options: WorkerAttack) => attackAsWorker(options),
};

const attack = ATTACKS[kind];
if (!attack) throw new Error(`there is no attack ${kind}: ${Object.keys(ATTACKS).join(', ')}`);
const report = await attack(JSON.parse(json) as never);
process.stdout.write(`${JSON.stringify(report)}\n`);
// sockets that the attack left open end with the process
process.exit(0);
