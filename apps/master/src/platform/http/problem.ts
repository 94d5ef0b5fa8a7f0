import { FarmError } from '@impgem/kit';
import { PROBLEM_CODES, type FileProblem, type Problem, type ProblemCode } from '@impgem/client';
import { asFarmError } from '../database/outage.js';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** What the edge answers, and whether the error is ours to look into. */
export interface Answer {
  problem: Problem;
  headers: Record<string, string>;
  /** A bug or something unforeseen: its owner logs it. */
  unexpected: boolean;
}

/** The answer to any error: registered codes keep their text; of everything else peers learn nothing. */
export function answerOf(thrown: unknown): Answer {
  const error = asFarmError(thrown);
  if (error instanceof FarmError && Object.hasOwn(PROBLEM_CODES, error.code)) {
    const { problems, retryAfterS } = error.details as {
      problems?: FileProblem[];
      retryAfterS?: number;
    };
    return answer(error.code as ProblemCode, error.message, problems, retryAfterS);
  }
  const known = fromHttp(error);
  if (known) return known;
  return { ...answer('internal', 'the master met an error; its log says more'), unexpected: true };
}

/** Errors of the framework itself, which carry a status: no such route, a body that is no JSON or too large. */
function fromHttp(error: unknown): Answer | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { statusCode, getStatus, message } = error as {
    statusCode?: unknown;
    getStatus?: () => number;
    message?: unknown;
  };
  const status = typeof getStatus === 'function' ? getStatus.call(error) : statusCode;
  if (typeof status !== 'number' || status < 400 || status >= 500) return undefined;
  const text = typeof message === 'string' ? message : '';
  switch (status) {
    case 401:
      return answer('unauthenticated', text);
    case 403:
      return answer('forbidden', text);
    case 404:
      return answer('not-found', text);
    case 413:
      return answer('too-large', text);
    case 416:
      return answer('range-not-satisfiable', text);
    case 429:
      return answer('too-many-requests', text);
    default:
      return answer('invalid-request', text);
  }
}

function answer(
  code: ProblemCode,
  detail: string,
  problems?: FileProblem[],
  retryAfterS = 5,
): Answer {
  const { status, title } = PROBLEM_CODES[code];
  const headers: Record<string, string> = {};
  if (status === 401) headers['www-authenticate'] = 'Bearer realm="impgem"';
  if (status === 429 || status === 503 || status === 507)
    headers['retry-after'] = String(retryAfterS);
  return {
    problem: {
      type: `urn:impgem:problem:${code}`,
      title,
      status,
      code,
      detail,
      ...(problems ? { problems } : {}),
    },
    headers,
    unexpected: false,
  };
}
