import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { LiveMessage, LiveRequest } from '@impgem/client';
import { deferred } from '@impgem/kit';
import type { StreamName } from '@impgem/protocol';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import * as fc from 'fast-check';
import { WebSocket, WebSocketServer } from 'ws';
import type { Caller } from '../access/index.js';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import { Events } from '../events/index.js';
import { Logs } from '../logs/index.js';
import { Database, LIMITS, readConfig } from '../platform/index.js';
import { LiveHub } from './hub.js';
import { LiveSession } from './session.js';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

let test: TestDatabase;
let db: Database;
let events: Events;
let hub: LiveHub;
let server: WebSocketServer;
const clients: Client[] = [];

beforeAll(async () => {
  test = await testDatabase();
  db = new Database({ url: test.url });
  events = new Events(db);
  await seedFarm(db);
});
beforeEach(async () => {
  hub = new LiveHub(db, events, new Logs(db, readConfig({})));
  await hub.onApplicationBootstrap();
  server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  const limits = { ...LIMITS, liveSubscriptions: 3 };
  const caller: Caller = { actor: 'token:t', tokenId: 't', scopes: ['read'] };
  server.on('connection', (socket) => new LiveSession(socket, caller, hub, limits));
  await once(server, 'listening');
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await hub.stop();
  server.close();
  await once(server, 'close');
});
afterAll(async () => {
  await db.close();
  await test.drop();
});

/** A viewer that keeps what it was told, and waits for conditions on it. */
class Client {
  readonly said: LiveMessage[] = [];
  #woken: () => void = () => undefined;

  constructor(readonly socket: WebSocket) {
    socket.on('message', (data) => {
      this.said.push(JSON.parse(String(data)) as LiveMessage);
      this.#woken();
    });
  }
  say(message: LiveRequest | string | Buffer): void {
    const plain = typeof message === 'string' || Buffer.isBuffer(message);
    this.socket.send(plain ? message : JSON.stringify(message));
  }
  async until<T>(what: (said: LiveMessage[]) => T | undefined | false): Promise<T> {
    for (;;) {
      const found = what(this.said);
      if (found !== undefined && found !== false) return found as T;
      await new Promise<void>((resolve) => (this.#woken = resolve));
    }
  }
  untilType<Type extends LiveMessage['type']>(type: Type, id?: string) {
    return this.until((said) =>
      said.find(
        (m): m is Extract<LiveMessage, { type: Type }> =>
          m.type === type && (id === undefined || ('id' in m && m.id === id)),
      ),
    );
  }
  events(id: string) {
    return this.said.flatMap((m) => (m.type === 'event' && m.id === id ? [m.event] : []));
  }
  log(id: string) {
    return this.said.flatMap((m) => (m.type === 'log' && m.id === id ? [m] : []));
  }
  text(id: string, stream?: StreamName): string {
    return this.log(id)
      .filter((piece) => stream === undefined || piece.stream === stream)
      .map((piece) => piece.text)
      .join('');
  }
  async close(): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return;
    const closed = once(this.socket, 'close');
    this.socket.terminate();
    await closed;
  }
}

async function connect(): Promise<Client> {
  const { port } = server.address() as AddressInfo;
  const client = new Client(new WebSocket(`ws://127.0.0.1:${port}`));
  clients.push(client);
  await once(client.socket, 'open');
  return client;
}

const append = (build: number, n: number) =>
  db.transaction((tx) => events.append(tx, [{ kind: 'build.started', build, data: { n } }]));

describe('events on the live socket', () => {
  it('come from now on, in order', async () => {
    const client = await connect();
    expect(await client.untilType('hello')).toEqual({ type: 'hello', actor: 'token:t' });
    client.say({ type: 'subscribe', id: 'e', topic: 'events' });
    const { after } = await client.untilType('subscribed');
    expect(after).toMatch(/^\d+\.\d+$/);
    for (let n = 0; n < 20; n++) await append(1, n);
    await client.until(() => client.events('e').length === 20);
    expect(client.events('e').map((event) => event.data.n)).toEqual([...Array(20).keys()]);
  });

  it('resume after a cut with nothing missed and nothing doubled, also of one build', async () => {
    const start = await events.head();
    const total = 300;
    const writing = (async () => {
      for (let n = 0; n < total; n++) {
        await append(7, n);
        await append(8, n);
      }
    })();
    const seen: unknown[] = [];
    let after: string = start;
    while (seen.length < total) {
      const client = await connect();
      client.say({ type: 'subscribe', id: 'e', topic: 'events', build: 7, after });
      await client.until(() => client.events('e').length >= Math.min(70, total - seen.length));
      await client.close();
      seen.push(...client.events('e').map((event) => event.data.n));
      after = client.events('e').at(-1)?.id ?? after;
    }
    await writing;
    expect(seen).toEqual([...Array(total).keys()]);
  });

  it('are not lost when a long transaction commits after later ones', async () => {
    const client = await connect();
    client.say({ type: 'subscribe', id: 'e', topic: 'events', build: 9 });
    await client.untilType('subscribed');
    const [begun, held] = [deferred(), deferred()];
    const long = db.transaction(async (tx) => {
      await events.append(tx, [{ kind: 'build.started', build: 9, data: { n: 0 } }]);
      // The append does not wait for its answer; this one comes after it.
      await tx.query('SELECT 1');
      begun.resolve();
      await held.promise;
    });
    await begun.promise;
    await append(9, 1);
    held.resolve();
    await long;
    await client.until(() => client.events('e').length === 2);
    expect(client.events('e').map((event) => event.data.n)).toEqual([0, 1]);
  });
});

describe('a log on the live socket', () => {
  it('gives history, then what comes, exact and in order, then the end', async () => {
    const run = await SeededBuild.begin(db);
    await run.log(['system', '$ make\n'], ['stdout', 'one\n']);
    const client = await connect();
    client.say({ type: 'subscribe', id: 'l', topic: 'log', build: run.id, step: 0 });
    await client.until(() => client.text('l') === '$ make\none\n');
    for (let n = 0; n < 30; n++) await run.log(['stdout', `${n}\n`], ['stderr', `e${n}\n`]);
    await run.finishStep();
    expect(await client.untilType('log.end')).toEqual({
      type: 'log.end',
      id: 'l',
      step: 0,
      bytes: run.bytes,
    });
    let offset = 0;
    for (const piece of client.log('l')) {
      expect(piece.offset).toBe(offset);
      offset += piece.length;
    }
    expect(offset).toBe(run.bytes);
    expect(client.text('l', 'stderr')).toBe([...Array(30).keys()].map((n) => `e${n}\n`).join(''));
  });

  it('keeps a character whole that is cut by a chunk, by another stream, and by a resume', async () => {
    const run = await SeededBuild.begin(db);
    const euro = Buffer.from('€');
    await run.log(
      ['stdout', Buffer.concat([Buffer.from('a'), euro.subarray(0, 1)])],
      ['stderr', Buffer.concat([Buffer.from('b'), euro.subarray(0, 2)])],
      ['stdout', euro.subarray(1, 2)],
    );
    const whole = await connect();
    whole.say({ type: 'subscribe', id: 'l', topic: 'log', build: run.id, step: 0 });
    await whole.until(() => whole.log('l').length === 3);
    const resumed = await connect();
    resumed.say({ type: 'subscribe', id: 'l', topic: 'log', build: run.id, step: 0, offset: 6 });
    await resumed.untilType('subscribed');
    await run.log(
      ['stdout', euro.subarray(2)],
      ['stderr', euro.subarray(2)],
      ['stdout', euro.subarray(0, 1)],
    );
    await run.finishStep();
    await Promise.all([whole.untilType('log.end'), resumed.untilType('log.end')]);
    expect([whole.text('l', 'stdout'), whole.text('l', 'stderr')]).toEqual(['a€\ufffd', 'b€']);
    expect([resumed.text('l', 'stdout'), resumed.text('l', 'stderr')]).toEqual(['€\ufffd', '€']);
  });

  it('begins in the middle of a chunk', async () => {
    const run = await SeededBuild.begin(db);
    await run.log(['stdout', '0123456789'], ['stdout', 'abc']);
    await run.finishStep();
    const client = await connect();
    client.say({ type: 'subscribe', id: 'l', topic: 'log', build: run.id, step: 0, offset: 8 });
    await client.untilType('log.end');
    expect(client.log('l').map(({ offset, length, text }) => [offset, length, text])).toEqual([
      [8, 2, '89'],
      [10, 3, 'abc'],
    ]);
  });

  it('reaches a viewer that does not read, whole and without a queue that grows', async () => {
    const run = await SeededBuild.begin(db);
    const slow = await connect();
    const quick = await connect();
    for (const client of [slow, quick]) {
      client.say({ type: 'subscribe', id: 'l', topic: 'log', build: run.id, step: 0 });
      await client.untilType('subscribed');
    }
    slow.socket.pause();
    const hash = createHash('sha256');
    for (let n = 0; n < 300; n++) {
      const chunk = `${n}\n`.repeat(Math.floor(60_000 / `${n}\n`.length));
      hash.update(chunk);
      await run.log(['stdout', chunk]);
    }
    await run.finishStep();
    await quick.untilType('log.end');
    const buffered = [...server.clients].map((socket) => socket.bufferedAmount);
    expect(Math.max(...buffered)).toBeLessThan(2 * 1024 * 1024);
    slow.socket.resume();
    await slow.untilType('log.end');
    const sha = hash.digest('hex');
    for (const client of [slow, quick])
      expect(createHash('sha256').update(client.text('l')).digest('hex')).toBe(sha);
  });
});

describe('many viewers of a log', () => {
  it('all see the same, from wherever and whenever they begin', async () => {
    const bytes = fc.oneof(
      fc.string({ unit: character, minLength: 1 }),
      fc.uint8Array({ minLength: 1, maxLength: 9 }),
    );
    const chunk = fc.tuple(fc.constantFrom(...(['system', 'stdout', 'stderr'] as const)), bytes);
    const action = fc.oneof(
      fc.record({ write: fc.array(chunk, { minLength: 1, maxLength: 12 }) }),
      fc.record({ watch: fc.nat() }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 15 }), async (actions) => {
        const run = await SeededBuild.begin(db);
        const client = await connect();
        const streams = { system: [], stdout: [], stderr: [] } as Record<StreamName, Buffer[]>;
        const from: { offset: number; before: Record<StreamName, number> }[] = [];
        for (const next of actions)
          if ('write' in next) {
            const chunks = next.write.map(([s, data]): [StreamName, Buffer] => [
              s,
              Buffer.from(data as string),
            ]);
            for (const [stream, data] of chunks) streams[stream].push(data);
            await run.log(...chunks);
          } else if (from.length < 3) {
            // Only at borders of chunks is it plain to say what a viewer shall see of each stream.
            const counts = (stream: StreamName) => Buffer.concat(streams[stream]).length;
            const before = {
              system: counts('system'),
              stdout: counts('stdout'),
              stderr: counts('stderr'),
            };
            const id = String(from.length);
            client.say({
              type: 'subscribe',
              id,
              topic: 'log',
              build: run.id,
              step: 0,
              offset: run.bytes,
            });
            from.push({ offset: run.bytes, before });
          }
        await run.finishStep();
        for (const [id, { offset, before }] of from.entries()) {
          await client.untilType('log.end', String(id));
          const pieces = client.log(String(id));
          expect(pieces.reduce((sum, { length }) => sum + length, offset)).toBe(run.bytes);
          for (const stream of ['system', 'stdout', 'stderr'] as const) {
            const all = Buffer.concat(streams[stream]);
            const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
            decoder.decode(all.subarray(0, before[stream]), { stream: true });
            const rest =
              decoder.decode(all.subarray(before[stream]), { stream: true }) + decoder.decode();
            expect(client.text(String(id), stream)).toBe(rest);
          }
        }
        await client.close();
      }),
      { numRuns: 20 },
    );
  });
});

describe('a live socket', () => {
  it.each([
    ['not JSON', '{', null, 'invalid-request'],
    ['a binary frame', Buffer.from('{}'), null, 'invalid-request'],
    ['a list', '[]', null, 'invalid-request'],
    ['an unknown type', '{"type":"publish","id":"x"}', 'x', 'invalid-request'],
    ['an unknown key', '{"type":"unsubscribe","id":"x","buildd":1}', 'x', 'invalid-request'],
    [
      'a bad position',
      '{"type":"subscribe","id":"x","topic":"events","after":"7"}',
      'x',
      'invalid-request',
    ],
    [
      'no such build',
      '{"type":"subscribe","id":"x","topic":"log","build":999999,"step":0}',
      'x',
      'not-found',
    ],
  ])('answers %s with an error and stays', async (_, message, id, code) => {
    const client = await connect();
    client.say(message);
    expect(await client.untilType('error')).toMatchObject({ id, code });
    client.say({ type: 'unsubscribe', id: 'u' });
    await client.untilType('unsubscribed');
  });

  it('refuses an offset behind the log, a doubled id, and too many subscriptions', async () => {
    const run = await SeededBuild.begin(db);
    const client = await connect();
    client.say({ type: 'subscribe', id: 'l', topic: 'log', build: run.id, step: 0, offset: 1 });
    expect(await client.untilType('error', 'l')).toMatchObject({ code: 'range-not-satisfiable' });
    for (const id of ['a', 'b', 'c']) client.say({ type: 'subscribe', id, topic: 'events' });
    client.say({ type: 'subscribe', id: 'a', topic: 'events' });
    expect(await client.untilType('error', 'a')).toMatchObject({ code: 'invalid-request' });
    client.say({ type: 'subscribe', id: 'd', topic: 'events' });
    expect(await client.untilType('error', 'd')).toMatchObject({ code: 'too-many-requests' });
    client.say({ type: 'unsubscribe', id: 'a' });
    client.say({ type: 'subscribe', id: 'e', topic: 'events' });
    await client.untilType('subscribed', 'e');
  });

  it('goes on by itself after the database was away', async () => {
    const client = await connect();
    client.say({ type: 'subscribe', id: 'e', topic: 'events', build: 77 });
    await client.untilType('subscribed');
    const restore = await test.cutOff();
    await restore();
    for (let done = false; !done;)
      done = await append(77, 1).then(
        () => true,
        () => false,
      );
    await client.until(() => client.events('e').length === 1);
  });
});
