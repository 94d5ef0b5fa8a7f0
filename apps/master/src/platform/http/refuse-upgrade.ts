import type { IncomingMessage } from 'node:http';
import type { ProblemCode } from '@impgem/client';
import type { VerifyClientCallbackAsync } from 'ws';
import { logger } from '../logging.js';
import { answerOf } from './problem.js';
import { markAdmitted } from './silent-connections.js';

const log = logger('platform');

/**
 * What a gateway asks at the upgrade, for `verifyClient`: `admit` rejects with why the peer is not let in, which is
 * answered as REST would, with a problem and its status. `refused` is told its code.
 */
export function admitUpgrade(
  admit: (request: IncomingMessage) => Promise<void>,
  refused: (code: ProblemCode) => void = () => undefined,
): VerifyClientCallbackAsync {
  return ({ req }, answer) => {
    admit(req)
      .then(
        () => answer(true),
        (error: unknown) => refused(refuse(error, answer)),
      )
      .catch((err: unknown) => {
        log.error({ err }, 'a socket is closed: its upgrade failed');
        req.socket.destroy();
      });
  };
}

/** Keeps a place, and gives it back when the connection ends, WebSocket or not. */
export function keepPlace(request: IncomingMessage, leave: () => void): void {
  const { socket } = request;
  markAdmitted(request);
  if (socket.destroyed) leave();
  else socket.once('close', leave);
}

function refuse(error: unknown, done: Parameters<VerifyClientCallbackAsync>[1]): ProblemCode {
  const { problem, headers, unexpected } = answerOf(error);
  if (unexpected) log.error({ err: error }, 'a socket could not be let in');
  done(false, problem.status, JSON.stringify(problem), {
    'Content-Type': 'application/problem+json',
    ...headers,
  });
  return problem.code;
}
