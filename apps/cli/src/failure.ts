import { ProblemError, UnreachableError } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import type { Target } from './config.js';
import { sayProblem } from './excerpt.js';
import { EXIT, exitOfError, Interrupted, UsageError } from './exit-codes.js';
import { harmless, type Terminal } from './terminal.js';

/** Says what went wrong and how to mend it; answers the exit code. */
export function sayFailure(terminal: Terminal, error: unknown, to: Target | undefined): number {
  const { say, talk } = terminal;
  if (!(error instanceof Interrupted)) {
    const text = error instanceof Error ? error.message : String(error);
    const detail = isExpected(error) || !(error instanceof Error) ? '' : `\n${error.stack ?? ''}`;
    say(`${talk.red('error:')} ${harmless(text)}${detail}`);
    for (const hint of hints(error, to)) say(talk.dim(`  ${hint}`));
    if (error instanceof ProblemError)
      for (const problem of error.problems)
        // The only problem of a request is its detail, too.
        if (!text.includes(problem.message)) sayProblem(terminal, problem);
  }
  return EXIT[exitOfError(error)].code;
}

const isExpected = (error: unknown) =>
  [ProblemError, UnreachableError, UsageError, FarmError].some((kind) => error instanceof kind);

function hints(error: unknown, to: Target | undefined): string[] {
  if (error instanceof UnreachableError)
    return [
      'is the master started? start one with: impgem up',
      `is that its address? set --url or IMPGEM_URL; this was ${error.url}`,
      'an own certificate authority: NODE_EXTRA_CA_CERTS=ca.pem',
    ];
  if (!(error instanceof ProblemError)) return [];
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
