import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { connect, exitOf, statusOf } from './engine.js';

let server: Server | undefined;
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve) ?? resolve(undefined));
});

/** What an engine answers to a wait: headers at once, the rest when the container has ended. */
async function waitFor(answer: (response: ServerResponse) => void): Promise<number> {
  server = createServer((_, response) => answer(response));
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return exitOf(connect(`tcp://127.0.0.1:${port}`).getContainer('c'));
}

describe('waiting for the exit of a container', () => {
  it('tells its code', async () => {
    const code = await waitFor((response) => {
      response.writeHead(200).flushHeaders();
      setTimeout(() => response.end('{"StatusCode":3}\n'), 20);
    });
    expect(code).toBe(3);
  });

  it('does not wait for ever when the engine dies with its answer half told', async () => {
    const waited = waitFor((response) => {
      response.writeHead(200).flushHeaders();
      setTimeout(() => response.destroy(), 20);
    });
    await expect(waited).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('rejects with what the engine refused', async () => {
    const refused = await waitFor((response) => response.writeHead(404).end('{}')).catch(
      (error: unknown) => error,
    );
    expect(statusOf(refused)).toBe(404);
  });
});
