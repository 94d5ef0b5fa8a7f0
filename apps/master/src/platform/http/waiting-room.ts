import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { FarmError } from '@impgem/kit';
import { defaultUrl, type MasterConfig } from '../config.js';
import type { Lifecycle } from '../health/lifecycle.js';
import { answerOf, PROBLEM_TYPE } from './problem.js';
import { ownErrors } from './raw-sockets.js';

export interface WaitingRoom {
  /** The port it got: with port 0, the one to listen on afterwards too. */
  port: number;
  url: string;
  close(): Promise<void>;
}

const WAITS = 'the master waits for its database';

/**
 * Answers on the master's port until the database is there and the application can be made: `/health/live` is
 * well, `/health/ready` is not, everything else is 503 `database-unavailable`. It also finds a taken port before
 * anything else has begun. Throws `FarmError('port-taken')`.
 */
export async function openWaitingRoom(
  config: MasterConfig,
  lifecycle: Lifecycle,
): Promise<WaitingRoom> {
  const answer: RequestListener = (request, response) => {
    // The room closes as soon as it can: nobody shall send a next request into a connection that ends.
    response.setHeader('connection', 'close');
    const path = request.url?.split('?')[0];
    if (path === '/health/live' || path === '/health/ready') {
      const live = path === '/health/live';
      response.writeHead(live ? 200 : 503, { 'content-type': 'application/json; charset=utf-8' });
      const status = live ? 'ok' : 'unavailable';
      const problems = [WAITS];
      response.end(JSON.stringify({ status, state: lifecycle.state, database: 'down', problems }));
      return;
    }
    const { problem, headers } = answerOf(new FarmError('database-unavailable', WAITS));
    response.writeHead(problem.status, { ...headers, 'content-type': PROBLEM_TYPE });
    response.end(JSON.stringify(problem));
  };
  const server = config.tls ? createTlsServer(config.tls, answer) : createServer(answer);
  ownErrors(server);
  await listen(server, config);
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: defaultUrl(config.tls !== undefined, config.host, port),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { host, port }: MasterConfig): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(portError(error, host, port)));
    server.listen({ host, port }, resolve);
  });
}

/** What to do about an address that cannot be had. */
export function portError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const advice =
    error.code === 'EADDRINUSE'
      ? 'is in use: stop the program that has it, or set IMPGEM_PORT to another one (0 takes any)'
      : error.code === 'EACCES'
        ? 'needs root: set IMPGEM_PORT to one above 1023'
        : `cannot be had (${error.code}): check IMPGEM_HOST and IMPGEM_PORT`;
  return new FarmError('port-taken', `port ${port} of ${host} ${advice}`, {}, { cause: error });
}
