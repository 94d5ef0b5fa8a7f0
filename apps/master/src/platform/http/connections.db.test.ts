import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { FarmError } from '@impgem/kit';
import { patient } from '@impgem/testkit';
import { Access } from '../../access/index.js';
import { Registration } from '../../workers/registration.js';
import { LIMITS } from '../limits.js';
import { testMaster, type TestMaster } from '../../testing.js';

let master: TestMaster;
const opened: Socket[] = [];
beforeAll(async () => {
  master = await testMaster({ limits: { ...LIMITS, upgradeMs: patient(300) } });
});
afterAll(async () => master?.stop());
afterEach(() => {
  for (const socket of opened.splice(0)) socket.destroy();
});

/** A connection of which the peer's end is left open when the master closes its own. */
async function dial(bytes: string | Buffer): Promise<Socket> {
  const { port } = new URL(master.url);
  const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
  opened.push(socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(bytes);
  return socket;
}

async function answered(socket: Socket): Promise<string> {
  const [piece] = (await once(socket, 'data')) as [Buffer];
  return String(piece);
}

const upgrade = (target: string, ...lines: string[]) =>
  [`GET ${target} HTTP/1.1`, ...lines, 'Connection: Upgrade', 'Upgrade: websocket', '', ''].join(
    '\r\n',
  );

describe('an upgrade that nobody serves', () => {
  it.each([
    ['a Host that is none', upgrade('/', 'Host: ['), 400],
    ['a target that is none', upgrade('//[', 'Host: a'), 400],
    ['no such path', upgrade('/api/v1/none', 'Host: a'), 404],
    ['a path that is not quite it', upgrade('/api/v1/live/x', 'Host: a'), 404],
    ['no key', upgrade('/api/v1/live', 'Host: a'), 400],
    ['another protocol', upgrade('/', 'Host: a').replace('websocket', 'h2c'), 404],
  ])('of %s is answered, and its reset ends nothing else', async (_, bytes, status) => {
    for (let again = 0; again < 10; again++) {
      const socket = await dial(bytes);
      expect(await answered(socket)).toContain(`HTTP/1.1 ${status} `);
      socket.resetAndDestroy();
    }
    const early = await dial(bytes);
    early.resetAndDestroy();
    expect((await master.call('GET', '/health/live')).status).toBe(200);
  });

  it('is not kept by a peer that leaves its end open, nor one by a peer that closes its own', async () => {
    const open = await dial(upgrade('/', 'Host: ['));
    const half = await dial(upgrade('/api/v1/live', 'Host: a'));
    half.end();
    open.resume();
    half.resume();
    await Promise.all([once(open, 'end'), once(half, 'end')]);
    // The master has closed it, and not only its half: what is sent now is answered with a reset.
    const cut = new Promise((resolve) => open.once('close', resolve));
    const more = setInterval(() => open.write('x'), 5);
    await cut.finally(() => clearInterval(more));
  });

  it('has a deadline, also while the database does not answer', async () => {
    const held = await master.database.transaction(async (tx) => {
      await tx.query('LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE');
      const token = `igt_aaaaaaaaaaaa_${'A'.repeat(43)}`;
      const lines = [`Host: a`, `Authorization: Bearer ${token}`, 'Sec-WebSocket-Version: 13'];
      const key = `Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}`;
      const socket = await dial(upgrade('/api/v1/live', ...lines, key));
      return answered(socket);
    });
    expect(held).toContain('HTTP/1.1 503 ');
    expect(held).toContain('"code":"overloaded"');
  });
});

const half = (line: string, length: number, ...lines: string[]) =>
  [`${line} HTTP/1.1`, 'Host: a', `Content-Length: ${length}`, ...lines, '', '{'].join('\r\n');
const json = 'Content-Type: application/json';

const wrong = (prefix: string, n: number) => `${prefix}_aaaaaaaaaa${10 + n}_${'A'.repeat(43)}`;

describe('who it is', () => {
  it.each([
    ['POST /api/v1/build-requests', 2_000_000, 401],
    ['PUT /api/v1/farm', 2_000_000, 401],
    ['POST /api/v1/none', 2_000_000, 404],
    ['DELETE /api/v1/builds/1', 2_000_000, 404],
    ['POST /api/v1/session', 4097, 413],
    ['POST /api/v1/workers/register', 8193, 413],
    ['POST /health/live', 2_000_000, 404],
  ])('is decided before the body of %s (%d bytes) is read: %d', async (line, length, status) => {
    const socket = await dial(half(line, length, json));
    expect(await answered(socket)).toContain(`HTTP/1.1 ${status} `);
  });

  it('is asked of the database together for those that come at once, and misses are remembered', async () => {
    const { database, app } = master;
    const query = database.query.bind(database);
    let looks = 0;
    database.query = ((sql: string, values?: unknown[]) => {
      if (/FROM (api|registration)_tokens\s+WHERE id = ANY/.test(sql)) looks += 1;
      return query(sql, values);
    }) as typeof database.query;
    try {
      const access = app.get(Access);
      const knock = (n: number) => {
        const headers = { authorization: `Bearer ${wrong('igt', n)}` };
        return access.authenticate({ headers }).catch((error: FarmError) => error.code);
      };
      const all = Array.from({ length: 80 }, (_, n) => n);
      expect(new Set(await Promise.all(all.map(knock)))).toEqual(new Set(['unauthenticated']));
      expect(looks).toBeLessThanOrEqual(2);
      const registration = app.get(Registration);
      const register = (n: number) =>
        registration
          .register(wrong('igr', n), { name: 'w' })
          .catch((error: FarmError) => error.code);
      expect(new Set(await Promise.all(all.map(register)))).toEqual(new Set(['unauthenticated']));
      expect(looks).toBeLessThanOrEqual(4);
      await knock(0);
      const before = looks;
      await Promise.all(Array.from({ length: 100 }, () => knock(0)));
      expect(looks - before).toBeLessThanOrEqual(1);
    } finally {
      database.query = query;
    }
  });
});
