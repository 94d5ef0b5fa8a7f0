/**
 * `npm run hostile -- [--attack KIND]… [--seconds N] [--seed S]`: a farm that builds all the time, and beside it, one
 * after the other, those who try to end it, fill it or lead it astray. Ends with 1 when a build, a byte, the master's
 * process, its latency or its memory was not what it is without them.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Token } from '@impgem/client';
import { eventually } from '@impgem/testkit';
import { ATTACKS, ATTACK_KINDS, type AttackKind } from './attacks.js';
import { NormalFarm, percentile, type Measured } from './normal-farm.js';

const print = (text: string): boolean => process.stdout.write(`${text}\n`);
const MIB = 1024 * 1024;

/** Beside an attack, the p99 of a normal build may be so many times what it is alone. */
const MOST_LATENCY = 3;
/** And the master may take so much memory more, in bytes. */
const MOST_MEMORY = 256 * MIB;
/** Descriptors that a quiet master may have more or less: pools open and close connections. */
const SPARE_DESCRIPTORS = 20;

function options() {
  try {
    const { values } = parseArgs({
      options: {
        attack: { type: 'string', multiple: true },
        seconds: { type: 'string', default: '600' },
        seed: { type: 'string', default: '1' },
      },
    });
    const attacks = values.attack ?? [...ATTACK_KINDS];
    const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
    if (!Number.isSafeInteger(seconds) || seconds < 10 || !Number.isSafeInteger(seed))
      throw new Error('--seconds (from 10 on) and --seed are whole numbers');
    const unknown = attacks.find((name) => !ATTACK_KINDS.includes(name as AttackKind));
    if (unknown) throw new Error(`--attack ${unknown} is none of ${ATTACK_KINDS.join(', ')}`);
    return { attacks: attacks as AttackKind[], seconds, seed };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exit(2);
  }
}

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopping.abort());

/** What an attack may take beyond its time, in seconds, before it is ended. */
const GRACE_S = 30;

/** Runs an attack in a process of its own; resolves with what it says that it did. */
function attack(kind: AttackKind, argument: { seconds: number }): Promise<string> {
  const file = fileURLToPath(new URL('attack.js', import.meta.url));
  const late = AbortSignal.timeout((argument.seconds + GRACE_S) * 1000);
  const child = fork(file, [kind, JSON.stringify(argument)], {
    silent: true,
    signal: AbortSignal.any([late, stopping.signal]),
    killSignal: 'SIGKILL',
  });
  return new Promise((resolve, reject) => {
    let [out, talk] = ['', ''];
    child.stdout?.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.stderr?.on('data', (bytes: Buffer) => (talk = (talk + bytes.toString()).slice(-4_000)));
    child.on('error', (error) => {
      if (late.aborted) resolve('the attack did not end by itself');
      else reject(error);
    });
    child.on('close', (code) =>
      code === 0
        ? resolve(out.trim())
        : reject(new Error(`the attack ended with ${code}\n${talk}`)),
    );
  });
}

interface Round {
  alone: Measured;
  beside: Measured;
  /** Open descriptors of the master, before the attack and a while after it. */
  descriptors: [number, number];
}

function judge({ alone, beside, descriptors }: Round): string[] {
  const [p99Alone, p99Beside] = [alone, beside].map((one) => percentile(one.latenciesMs, 0.99));
  const ratio = (p99Beside ?? NaN) / (p99Alone ?? NaN);
  const more = (beside.masterRss - alone.masterRss) / MIB;
  print(`  alone   ${describe(alone)}`);
  print(`  beside  ${describe(beside)}`);
  print(`  p99 × ${ratio.toFixed(2)}, memory ${more >= 0 ? '+' : ''}${more.toFixed(0)} MiB,`);
  print(`  descriptors ${descriptors[0]} before, ${descriptors[1]} after`);
  return [
    ...beside.problems,
    ...(ratio <= MOST_LATENCY ? [] : [`p99 is ${ratio.toFixed(2)} times what it is alone`]),
    ...(more * MIB <= MOST_MEMORY ? [] : [`the master took ${more.toFixed(0)} MiB more`]),
    ...(descriptors[1] <= descriptors[0] + SPARE_DESCRIPTORS
      ? []
      : [`${descriptors[1] - descriptors[0]} descriptors more than before`]),
  ];
}

function describe({ builds, latenciesMs, masterRss }: Measured): string {
  const [p50, p99] = [0.5, 0.99].map((share) => percentile(latenciesMs, share).toFixed(0));
  return `${builds} builds, p50 ${p50} ms, p99 ${p99} ms, master ${(masterRss / MIB).toFixed(0)} MiB`;
}

const told = (error: unknown): string[] => [String(error)];

async function play(kind: AttackKind, seconds: number, seed: number): Promise<string[]> {
  const normal = await NormalFarm.start(ATTACKS[kind].builders(seed));
  const problems = await playBeside(normal, kind, seconds, seed).catch(told);
  if (normal.farm.master.exitCode !== null)
    problems.push(`the master has ended: ${normal.farm.master.output.slice(-2_000)}`);
  return [...problems, ...(await normal.stop().then(() => [], told))];
}

async function playBeside(
  normal: NormalFarm,
  kind: AttackKind,
  seconds: number,
  seed: number,
): Promise<string[]> {
  const { prepare, builds } = ATTACKS[kind];
  const { token } = await normal.farm.api<Token & { token: string }>('POST', '/tokens', {
    name: 'hostile',
    scopes: ['read'],
  });
  const prepared = await prepare(normal.farm, seed);
  const alone = await normal.measure(Math.max(20, seconds / 5), stopping.signal);
  const before = normal.descriptors();
  const argument = { url: normal.farm.url, token, seconds, seed, ...prepared.argument };
  const triggering = new AbortController();
  const bait = keepTriggering(normal, builds(seed), triggering.signal);
  const [beside, did] = await Promise.allSettled([
    normal.measure(seconds, stopping.signal),
    attack(kind, argument),
  ]);
  triggering.abort();
  await bait;
  await prepared.end();
  if (beside.status === 'rejected') throw beside.reason;
  if (did.status === 'rejected') throw did.reason;
  print(`  ${did.value}`);
  let after = normal.descriptors();
  await eventually(() => (after = normal.descriptors()) <= before + SPARE_DESCRIPTORS, {
    what: 'the end of what the attack opened',
  }).catch(() => undefined);
  return judge({ alone, beside: beside.value, descriptors: [before, after] });
}

/** Requests the builders of the attack in turn, a few at a time, until it is over. */
async function keepTriggering(
  { farm }: NormalFarm,
  builders: string[],
  signal: AbortSignal,
): Promise<void> {
  for (let n = 0; builders.length > 0 && !signal.aborted; n++) {
    const builder = builders[n % builders.length] ?? '';
    const request = await farm.request(builder).catch(() => undefined);
    if (!request) continue;
    await farm.untilBuild(request.id, ['finished'], 60_000).catch(() => undefined);
  }
}

const { attacks, seconds, seed } = options();
let failures = 0;
for (const kind of attacks) {
  if (stopping.signal.aborted) break;
  print(`── ${kind}, ${seconds} s, seed ${seed} ──`);
  const problems = await play(kind, seconds, seed).catch(told);
  for (const problem of problems.slice(0, 20)) print(`FAILED: ${problem}`);
  if (problems.length > 0) failures += 1;
}
print(`${attacks.length - failures} passed, ${failures} failed`);
process.exitCode = failures > 0 || stopping.signal.aborted ? 1 : 0;
