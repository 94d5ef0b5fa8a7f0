import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProblemError, UnreachableError } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import type { Target } from './config.js';
import { sayProblem } from './excerpt.js';
import { AnswerError, EXIT, exitOfError, Interrupted, UsageError } from './exit-codes.js';
import { harmless, type Terminal } from './terminal.js';
import { VERSION } from './version.js';

/** Says what went wrong and how to mend it; answers the exit code. Never throws. */
export function sayFailure(terminal: Terminal, error: unknown, to: Target | undefined): number {
  const { say, talk } = terminal;
  if (error instanceof Interrupted) return EXIT.interrupted.code;
  const text = wordsOf(error);
  say(`${talk.red('error:')} ${harmless(text)}`);
  for (const hint of hints(error, to)) say(talk.dim(`  ${hint}`));
  if (error instanceof ProblemError)
    for (const problem of problemsOf(error))
      // The only problem of a request is its detail, too.
      if (!text.includes(problem.message)) sayProblem(terminal, problem);
  return EXIT[exitOfError(error)].code;
}

const EXPECTED = [ProblemError, UnreachableError, UsageError, FarmError, AnswerError];

/** Something outside is wrong; anything else is a fault of this program. */
const isExpected = (error: unknown) =>
  EXPECTED.some((kind) => error instanceof kind) || isOfSystem(error);

/** Of a file or a socket: `ENOSPC: no space left on device, write`, say. */
const isOfSystem = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'code' in error;

const wordsOf = (error: unknown): string =>
  (error instanceof Error ? error.message || error.name : String(error)).trim();

/** What is no list of problems is no master's. */
const problemsOf = ({ problems }: ProblemError) =>
  (Array.isArray(problems) ? problems : []).filter(
    (one) => typeof (one as { message?: unknown } | null)?.message === 'string',
  );

const OF_SYSTEM: Record<string, string> = {
  ENOSPC: 'the disk is full: make room there',
  EDQUOT: 'the quota of the disk is used up: make room there',
  EACCES: 'this user may not do that: look at the owner and the mode of what is named',
  EPERM: 'this user may not do that: look at the owner and the mode of what is named',
  EROFS: 'the file system is mounted for reading alone',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
};

function hints(error: unknown, to: Target | undefined): string[] {
  if (error instanceof UnreachableError)
    return [
      'is the master started? start one with: impgem up',
      `is that its address? set --url or IMPGEM_URL; this was ${error.url}`,
      'an own certificate authority: NODE_EXTRA_CA_CERTS=ca.pem',
    ];
  if (error instanceof AnswerError)
    return [`is that a master's address, and is it of this version? ${keptIn(error.cause)}`];
  if (error instanceof ProblemError && error.isForeign)
    return [
      `is that a master's address? set --url or IMPGEM_URL${to ? `; this was ${to.url}` : ''}`,
    ];
  if (isOfSystem(error)) return [OF_SYSTEM[error.code ?? ''] ?? []].flat();
  if (!isExpected(error)) return [`a fault of impgem ${VERSION}; ${keptIn(error)}`];
  return error instanceof ProblemError ? ofRefusal(error, to) : [];
}

function ofRefusal(error: ProblemError, to: Target | undefined): string[] {
  if (error.status === 401)
    return to?.token === undefined
      ? [
          'no token was given: set --token or IMPGEM_TOKEN',
          'an admin makes one with: impgem token create NAME --scope trigger',
        ]
      : [
          `the token came from ${to.from}; the first admin token is in the file admin-token of the master's data folder`,
        ];
  if (error.code === 'forbidden')
    return [
      'an admin makes a token of another scope with: impgem token create NAME --scope read|trigger|admin',
    ];
  return [];
}

/** Keeps what only developers read. */
function keptIn(error: unknown): string {
  try {
    const file = join(mkdtempSync(join(tmpdir(), 'impgem-error-')), 'details.txt');
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    writeFileSync(file, `impgem ${VERSION}, Node ${process.version}\n${detail}\n`, { mode: 0o600 });
    return `the details are in ${file}`;
  } catch (cause) {
    return `the details cannot be kept (${(cause as Error).message})`;
  }
}
