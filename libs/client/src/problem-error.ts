import { cutText } from '@impgem/kit';
import type { FileProblem, Problem } from './api.js';
import { PROBLEM_CODES, type ProblemCode } from './problem-codes.js';

/** The master refused. `message` is the problem's detail, for people. */
export class ProblemError extends Error {
  override name = 'ProblemError';
  constructor(
    readonly code: ProblemCode,
    /** HTTP status. */
    readonly status: number,
    readonly detail: string,
    /** E.g. those of a farm file. */
    readonly problems: FileProblem[] = [],
    /** What answered is no master: a proxy, another program, a page to sign in. */
    readonly isForeign = false,
  ) {
    super(detail);
  }

  /**
   * From the body of an answer. What is not a problem of the master's (a proxy's page, say) becomes code
   * `internal` with the status in the detail.
   */
  static from(status: number, text: string): ProblemError {
    const problem = parse(text);
    if (problem && typeof problem.code === 'string' && Object.hasOwn(PROBLEM_CODES, problem.code))
      return new ProblemError(
        problem.code,
        status,
        problem.detail ?? PROBLEM_CODES[problem.code].title,
        problem.problems,
      );
    const said = cutText(text.slice(0, 2000).replace(/\s+/g, ' ').trim(), 200);
    return new ProblemError(
      'internal',
      status,
      `HTTP ${status}, and not from a master of Imp Gem${said ? `: ${said}` : ''}`,
      [],
      true,
    );
  }
}

/** There was no answer: no master at that address, or the way to it is cut. */
export class UnreachableError extends Error {
  override name = 'UnreachableError';
  constructor(
    readonly url: string,
    options: { cause: unknown },
  ) {
    super(`${url} does not answer: ${deepest(options.cause)}`, options);
  }
}

function parse(text: string): Partial<Problem> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** `fetch` says only "fetch failed"; what failed is its cause. */
function deepest(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return deepest(error.cause);
  const { code } = error as { code?: unknown };
  return error.message || (typeof code === 'string' ? code : error.name);
}
