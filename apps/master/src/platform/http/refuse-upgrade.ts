import type { ProblemCode } from '@impgem/client';
import type { VerifyClientCallbackAsync } from 'ws';
import { logger } from '../logging.js';
import { answerOf } from './problem.js';

const log = logger('platform');

/** Answers an upgrade as REST would: with a problem and its status. Returns its code. */
export function refuseUpgrade(
  error: unknown,
  done: Parameters<VerifyClientCallbackAsync>[1],
): ProblemCode {
  const { problem, headers, unexpected } = answerOf(error);
  if (unexpected) log.error({ err: error }, 'a socket could not be let in');
  done(false, problem.status, JSON.stringify(problem), {
    'Content-Type': 'application/problem+json',
    ...headers,
  });
  return problem.code;
}
