import { ProblemError, UnreachableError, type Result } from '@impgem/client';
import { FarmError } from '@impgem/kit';

/** What the program's exit code says; the table stands in `impgem help exit-codes`. */
export const EXIT = {
  ok: { code: 0, means: 'done; of a build: success, warnings or skipped' },
  failure: { code: 1, means: 'the build failed: the fault of what was built' },
  usage: { code: 2, means: 'the command line or a file it names is wrong' },
  refused: {
    code: 3,
    means: 'refused: no valid token, no right, or a request or farm file with problems',
  },
  unreachable: {
    code: 4,
    means: 'no master answers at that address, or something that is no master',
  },
  exception: {
    code: 5,
    means: 'an exception: of the build, the farm, this machine (a full disk, say) or this program',
  },
  cancelled: { code: 6, means: 'the build was cancelled' },
  unwell: { code: 7, means: 'doctor found something that does not work' },
  interrupted: { code: 130, means: 'stopped by Ctrl-C; a build that was watched goes on' },
} as const;
export type Exit = keyof typeof EXIT;

const OF_RESULT: Record<Result, Exit> = {
  success: 'ok',
  warnings: 'ok',
  skipped: 'ok',
  failure: 'failure',
  exception: 'exception',
  retry: 'exception',
  cancelled: 'cancelled',
};
export const exitOfResult = (result: Result): Exit => OF_RESULT[result];

/** Wrong usage that the argument parser cannot see; ends the program with code 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** Ctrl-C, or the signal that a supervisor sends. */
export class Interrupted extends Error {
  override name = 'Interrupted';
}

/** A master that answers in another shape than this version knows, or something that only looks like a master. */
export class AnswerError extends Error {
  override name = 'AnswerError';
}

export function exitOfError(error: unknown): Exit {
  if (error instanceof UsageError) return 'usage';
  if (error instanceof UnreachableError) return 'unreachable';
  if (error instanceof Interrupted) return 'interrupted';
  if (error instanceof ProblemError && error.isForeign) return 'unreachable';
  if (error instanceof ProblemError) return error.status >= 500 ? 'exception' : 'refused';
  if (error instanceof AnswerError) return 'unreachable';
  const refused = error instanceof FarmError && error.code === 'artifact-refused';
  return refused ? 'refused' : 'exception';
}
