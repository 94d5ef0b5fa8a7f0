import { UnreachableError } from '@impgem/client';
import { Command, CommanderError } from 'commander';
import { addApply } from './commands/farm-apply.js';
import { addLint } from './commands/farm-lint.js';
import { addArtifacts } from './commands/build-artifacts.js';
import { addCancel } from './commands/build-cancel.js';
import { addBuilds } from './commands/build-list.js';
import { addLogs } from './commands/build-logs.js';
import { addShow } from './commands/build-show.js';
import { addTrigger } from './commands/build-trigger.js';
import { addWatch } from './commands/build-watch.js';
import { addBuilders } from './commands/builder-list.js';
import { addAudit } from './commands/audit-list.js';
import { addBackupAndRestore } from './commands/master-copy.js';
import { addMaster } from './commands/master-run.js';
import { addTokenCreate } from './commands/token-create.js';
import { addTokenList } from './commands/token-list.js';
import { addTokenRevoke } from './commands/token-revoke.js';
import { addDoctor } from './commands/farm-doctor.js';
import { addRetention } from './commands/farm-retention.js';
import { addUp } from './commands/farm-up.js';
import { addWorkerAdd } from './commands/worker-add.js';
import { addWorkerList } from './commands/worker-list.js';
import { addWorkerPrune } from './commands/worker-prune.js';
import { addWorkerResume } from './commands/worker-resume.js';
import { addWorkerRevoke } from './commands/worker-revoke.js';
import { addWorkerRotate } from './commands/worker-rotate.js';
import { addWorker } from './commands/worker-run.js';
import { askedBy, equip, type Cli } from './cli.js';
import { target, type Target } from './config.js';
import { AnswerError, EXIT } from './exit-codes.js';
import { sayFailure } from './failure.js';
import { VERSION } from './version.js';

/** All commands. */
function createProgram(cli: Cli): Command {
  const program = new Command('impgem')
    .description('a self-hosted build farm')
    .version(VERSION)
    .option('--url <address>', 'the master; else IMPGEM_URL, else http://127.0.0.1:8010')
    .option('--token <token>', 'API token; better in IMPGEM_TOKEN, since others see command lines')
    .option('--json', 'data as JSON, for programs')
    .configureOutput({
      writeOut: (text) => cli.terminal.out(text),
      writeErr: (text) => cli.terminal.say(text.trimEnd()),
    })
    .exitOverride()
    .showHelpAfterError('(impgem help shows the commands)');
  const add = [addUp, addMaster, addWorker, addApply, addLint, addTrigger, addWatch, addLogs];
  for (const one of [...add, addArtifacts, addBuilders, addBuilds, addShow, addCancel])
    one(program, cli);
  const workers = program
    .command('workers')
    .description('list, add, resume, revoke, rotate workers, prune what dead ones left');
  const ofWorkers = [addWorkerList, addWorkerAdd, addWorkerResume, addWorkerRevoke];
  for (const one of [...ofWorkers, addWorkerRotate, addWorkerPrune]) one(workers, cli);
  const tokens = program.command('token').description('create, list, revoke API tokens');
  for (const one of [addTokenCreate, addTokenList, addTokenRevoke]) one(tokens, cli);
  addAudit(program, cli);
  addRetention(program, cli);
  addDoctor(program, cli);
  addBackupAndRestore(program, cli);
  program
    .command('exit-codes')
    .description('what the exit codes say')
    .addHelpText('after', `\n${exitCodes()}`)
    .action(() => cli.terminal.print(exitCodes()));
  return program;
}

/** Runs one command line; answers the exit code. Never rejects. */
export async function run(argv: readonly string[], given: Omit<Cli, 'exit'>): Promise<number> {
  let code: number = EXIT.ok.code;
  const program = createProgram({ ...given, exit: (with_) => void (code = with_) });
  equip(program, given);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT.usage.code;
    // Whatever was under way has ended so.
    if (given.signal.aborted && isCut(error)) return EXIT.interrupted.code;
    return sayFailure(given.terminal, understood(error, askedBy(program)), targetOf(program));
  }
}

/** JSON of another shape is met where it is used. */
const understood = (error: unknown, asked: string | undefined): unknown =>
  error instanceof TypeError && asked !== undefined
    ? new AnswerError(
        `${asked} answered what impgem ${VERSION} does not understand: ${error.message}`,
        { cause: error },
      )
    : error;

const isCut = (error: unknown): boolean =>
  error instanceof UnreachableError || (error as Error | undefined)?.name === 'AbortError';

function targetOf(program: Command): Target | undefined {
  try {
    return target(program.opts());
  } catch {
    return undefined;
  }
}

function exitCodes(): string {
  return Object.values(EXIT)
    .map(({ code, means }) => `${String(code).padStart(3)}  ${means}`)
    .join('\n');
}
