import type { Worker } from './api.js';

/** Less than this is on its way in a moment, and not worth a line. */
const WORTH_TELLING = 1024 ** 2;

/**
 * Bytes of output that a worker has yet to send, when they are worth telling; else 0. Nobody waits for those of one that is
 * offline or revoked: it holds no build.
 */
export function outputBehind({ state, spooled }: Pick<Worker, 'state' | 'spooled'>): number {
  const heard = state !== 'offline' && state !== 'revoked';
  return heard && spooled !== null && spooled >= WORTH_TELLING ? spooled : 0;
}
