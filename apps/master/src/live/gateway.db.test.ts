import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import { lockWaits, until } from '../scheduling/testing.js';
import { type TestMaster, testMaster } from '../testing.js';

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
});
afterAll(() => master.stop());

const knock = (headers: Record<string, string>) =>
  new WebSocket(`${master.url.replace('http', 'ws')}/api/v1/live`, { headers });
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** What the master says at the door. */
async function refusal(headers: Record<string, string>) {
  const socket = knock(headers);
  const [, answer] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part as Buffer);
  // Giving up on a socket that never was is an error to it.
  socket.on('error', () => undefined);
  socket.terminate();
  const { code } = JSON.parse(String(Buffer.concat(parts))) as { code: string };
  return { status: answer.statusCode, type: answer.headers['content-type'], code };
}

async function hello(headers: Record<string, string>) {
  const socket = knock(headers);
  const [data] = (await once(socket, 'message')) as [Buffer];
  return { socket, hello: JSON.parse(String(data)) as object };
}

async function signIn(token: string): Promise<string> {
  const answer = await master.call('POST', '/api/v1/session', { json: { token }, token: null });
  return answer.headers.getSetCookie()[0]?.split(';')[0] ?? '';
}

/** Asks for events; resolves with what comes next. */
async function ask(socket: WebSocket, id: string): Promise<string> {
  const answer = once(socket, 'message');
  socket.send(JSON.stringify({ type: 'subscribe', id, topic: 'events' }));
  return String((await answer)[0]);
}

describe('the live gateway', () => {
  it('lets a token in', async () => {
    const { socket, hello: said } = await hello(bearer(master.token));
    expect(said).toEqual({ type: 'hello', actor: 'token:first-admin' });
    socket.close();
    await once(socket, 'close');
  });

  it('turns away at the upgrade who has no token, a wrong or an expired one', async () => {
    for (const headers of [{}, bearer('igt_x'), bearer(`igt_aaaaaaaaaaaa_${'A'.repeat(43)}`)])
      expect(await refusal(headers)).toMatchObject({
        status: 401,
        type: 'application/problem+json',
        code: 'unauthenticated',
      });
  });

  it("lets the page's session in, and no other page", async () => {
    const cookie = await signIn(master.token);
    const { socket } = await hello({ cookie, origin: master.url });
    socket.terminate();
    const other = await refusal({ cookie, origin: 'https://evil.example' });
    expect(other).toMatchObject({ status: 403, code: 'origin' });
  });

  it('closes at once when the token is revoked, and leaves others alone', async () => {
    const { id, token } = await master.newToken(['read']);
    const mine = await hello(bearer(token));
    const other = await hello(bearer(master.token));
    const closed = once(mine.socket, 'close');
    await master.call('DELETE', `/api/v1/tokens/${id}`);
    expect((await closed)[0]).toBe(1008);
    expect(await refusal(bearer(token))).toMatchObject({ status: 401, code: 'token-revoked' });
    other.socket.ping();
    await once(other.socket, 'pong');
    other.socket.terminate();
  });

  it('closes when the token expires', async () => {
    const { token } = await master.newToken(['read'], 1);
    const { socket } = await hello(bearer(token));
    expect((await once(socket, 'close'))[0]).toBe(1008);
  });

  it('closes on a message that is too big', async () => {
    const { socket } = await hello(bearer(master.token));
    socket.send('x'.repeat(100_000));
    expect((await once(socket, 'close'))[0]).toBe(1009);
  });

  it('closes when too many requests come before their answers', async () => {
    const { socket } = await hello(bearer(master.token));
    const closed = once(socket, 'close');
    for (let id = 0; id < 2 * master.config.limits.liveRequestsWaiting; id++)
      socket.send(JSON.stringify({ type: 'subscribe', id: `${id}`, topic: 'events' }));
    expect((await closed)[0]).toBe(1008);
  });

  it('is slow with a caller who asks too fast, on all sockets of it, and with nobody else', async () => {
    const limits = { ...master.config.limits, liveRequestBurst: 2, liveRequestsPerSecond: 1e-6 };
    const slow = await testMaster({ limits });
    try {
      const { token } = await slow.newToken(['read']);
      const open = async (own: string) => {
        const address = `${slow.url.replace('http', 'ws')}/api/v1/live`;
        const socket = new WebSocket(address, { headers: bearer(own) });
        await once(socket, 'message');
        return socket;
      };
      const [first, second, other] = [await open(token), await open(token), await open(slow.token)];
      for (const id of ['1', '2']) expect(await ask(first, id)).toContain('subscribed');
      const third = ask(second, '3');
      expect(await ask(other, '1')).toContain('subscribed');
      expect(await Promise.race([third, ask(other, '2')])).toContain('"id":"2"');
      for (const socket of [first, second, other]) socket.terminate();
    } finally {
      await slow.stop();
    }
  });

  it('carries events of what happens over REST', async () => {
    const { socket } = await hello(bearer(master.token));
    socket.send(JSON.stringify({ type: 'subscribe', id: 'e', topic: 'events' }));
    await once(socket, 'message');
    const event = once(socket, 'message');
    const source = `builders:\n  a: { image: i, steps: [{ name: s, run: 'true' }] }\n`;
    await master.call('PUT', '/api/v1/farm', { json: { source } });
    const [data] = (await event) as [Buffer];
    expect(JSON.parse(String(data))).toMatchObject({
      type: 'event',
      id: 'e',
      event: { kind: 'farm.applied', data: { builders: ['a'] } },
    });
    socket.terminate();
  });

  it('says goodbye when the master stops', async () => {
    const second = await testMaster();
    const socket = new WebSocket(`${second.url.replace('http', 'ws')}/api/v1/live`, {
      headers: bearer(second.token),
    });
    await once(socket, 'message');
    const closed = once(socket, 'close');
    await second.stop();
    expect((await closed)[0]).toBe(1001);
  });

  it('lets nobody stay whose token was revoked while it was let in', async () => {
    const { id, token } = await master.newToken(['read']);
    let socket: WebSocket | undefined;
    const over = new Promise<number>((resolve, reject) => {
      const revoked = master.database.transaction(async (tx) => {
        // As `revoke` does; the first use of the token waits for this row, after it was found in force.
        await tx.query('UPDATE api_tokens SET revoked_at = now() WHERE id = $1', [id]);
        socket = knock(bearer(token));
        socket.on('error', () => undefined);
        socket.on('unexpected-response', () => resolve(401));
        socket.on('close', resolve);
        // Asked over another connection: within a transaction this view stands still.
        await until(async () => (await lockWaits(master.database)) > 0);
        await tx.query('NOTIFY access');
      });
      revoked.catch(reject);
    });
    expect([401, 1008]).toContain(await over);
    socket?.terminate();
  });
});
