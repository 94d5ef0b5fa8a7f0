import { createServer } from 'node:net';
import { UsageError } from '../exit-codes.js';

/** Ports that are tried after a taken one that nobody asked for. */
const TRIES = 20;

/**
 * The port to listen on. One that was asked for must be free; else the first free one from `first` on, so that
 * two farms can run beside each other.
 */
export async function choosePort(
  host: string,
  asked: number | undefined,
  first: number,
): Promise<number> {
  if (asked !== undefined) {
    if (asked === 0 || (await isFree(host, asked))) return asked;
    throw new UsageError(`port ${asked} is taken by another program; choose one with --port`);
  }
  for (let port = first; port < first + TRIES; port++) if (await isFree(host, port)) return port;
  throw new UsageError(
    `the ports ${first} to ${first + TRIES - 1} are taken; choose one with --port`,
  );
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE'
        ? resolve(false)
        : reject(new UsageError(`port ${port} of ${host} cannot be used: ${error.message}`)),
    );
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
