/**
 * `npm run chaos -- [--rounds N] [--seed S] [--only KIND] [--small] [--verbose] [--write | --add]`: real programs, a
 * real build that writes, and faults while it does. Ends with 1 when a round fails, and prints how to see it again.
 * `--long` instead has one build count aloud for three minutes while all around it is killed in turn. `--write` puts
 * the result into docs/reliability.md, `--add` adds it to what that tells already. SIGTERM ends it after the round
 * under way, with a result of those that were played.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ALL_KINDS, type Kind } from './faults.js';
import { Ground } from './ground.js';
import { ordeal } from './ordeal.js';
import { FULL, SMALL, STEPS } from './output.js';
import { planRound } from './plan.js';
import { Totals, writeOrdeal, writeReliability } from './report.js';
import { playRound, type RoundReport } from './round.js';

const write = (text: string): boolean => process.stdout.write(text);
const print = (text: string): boolean => write(`${text}\n`);

const USAGE =
  'npm run chaos -- [--rounds N] [--seed S] [--only KIND] [--small] [--verbose] [--write | --add] | --long [--write]';

/** A wrong word ends the program before anything is made. */
function options() {
  try {
    return parseArgs({
      options: {
        rounds: { type: 'string', default: '13' },
        seed: { type: 'string', default: '1' },
        only: { type: 'string' },
        long: { type: 'boolean', default: false },
        small: { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
        add: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`);
    process.exit(2);
  }
}
const values = options();

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    if (!stopping.signal.aborted) process.stderr.write('stopping after this round …\n');
    stopping.abort();
  });

async function main(): Promise<number> {
  const rounds = Number(values.rounds);
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(rounds) || rounds < 1 || !Number.isSafeInteger(seed)) {
    process.stderr.write('--rounds and --seed are whole numbers\n');
    return 2;
  }
  const only = ALL_KINDS.find((kind) => kind.startsWith(values.only ?? '\0'));
  if (values.only && !only) {
    process.stderr.write(`--only: ${values.only} begins none of ${ALL_KINDS.join('; ')}\n`);
    return 2;
  }
  if (values.long) return long();
  const totals = await play(rounds, seed, only);
  print(`\n${totals.table()}\n`);
  // fewer than asked for, when it was told to stop
  const played = command(totals.passed + totals.failed, seed);
  if (values.write || values.add) writeReliability(played, totals, values.add);
  print(totals.summary);
  return totals.failed > 0 || stopping.signal.aborted ? 1 : 0;
}

async function play(rounds: number, seed: number, only: Kind | undefined): Promise<Totals> {
  const totals = new Totals();
  const ground = await Ground.lay(values.small ? SMALL : FULL);
  try {
    const choice = { root: ground.engine.isOwn, steps: STEPS, ...(only ? { only } : {}) };
    for (let round = 0; round < rounds && !stopping.signal.aborted; round++) {
      const report = await playRound(ground, planRound(seed + round, choice));
      totals.add(report);
      tell(report);
    }
    return totals;
  } finally {
    await ground.clear();
  }
}

const LONG_S = 180;

async function long(): Promise<number> {
  const dataDir = await mkdtemp(join(tmpdir(), 'impgem-ordeal-'));
  let problems: string[];
  let course = '';
  const say = (text: string): void => {
    course += text;
    write(text);
  };
  try {
    await chmod(dataDir, 0o755);
    const { build, attempts, log, expected } = await ordeal({ dataDir, seconds: LONG_S, say });
    say(
      `attempts ${attempts}, result ${build.result}, ${log.length} of ${expected.length} bytes\n`,
    );
    problems = [
      ...(build.result === 'success' ? [] : [`the result is ${build.result}`]),
      ...(attempts === 1 ? [] : [`it took ${attempts} attempts`]),
      ...(log === expected ? [] : ['the log is not what was written']),
    ];
  } catch (error) {
    problems = [String(error)];
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
  for (const problem of problems) say(`FAILED: ${problem}\n`);
  say(problems.length === 0 ? '1 rounds passed, 0 failed\n' : '0 rounds passed, 1 failed\n');
  if (values.write) writeOrdeal([`\`\`\`\n${course}\`\`\``]);
  return problems.length === 0 ? 0 : 1;
}

function tell(report: RoundReport): void {
  const { plan, hits, attempts, bytes, seconds, problems, kept, course } = report;
  const told = hits.map(({ kind, writing }) => (writing ? kind : `${kind} (missed)`)).join(' + ');
  const verdict = problems.length === 0 ? 'ok    ' : 'FAILED';
  print(
    `${verdict} seed ${plan.seed}: ${told}; attempts ${attempts}, ${(bytes / 1e6).toFixed(0)} MB, ${seconds.toFixed(0)} s`,
  );
  if (problems.length > 0 || values.verbose) for (const line of course) print(`  ${line}`);
  if (problems.length === 0) return;
  for (const problem of problems) print(`  ${problem.replaceAll('\n', '\n  ')}`);
  print(`  logs: ${kept}\n  again: ${command(1, plan.seed)}`);
}

function command(rounds: number, seed: number): string {
  const more = [
    ...(values.only ? [`--only '${values.only}'`] : []),
    ...(values.small ? ['--small'] : []),
  ];
  return ['npm run chaos --', `--rounds ${rounds}`, `--seed ${seed}`, ...more].join(' ');
}

process.exitCode = await main();
