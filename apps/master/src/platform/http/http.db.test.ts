import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import type { Page, Problem, Token } from '@impgem/client';
import { testDatabase } from '@impgem/testkit';
import { lockWaits, until } from '../../scheduling/testing.js';
import { testMaster, type CallOptions, type TestMaster } from '../../testing.js';
import { startMaster } from '../../master.js';
import { readConfig, withConfig } from '../config.js';
import { setLogLevel } from '../logging.js';
import { openApiDocument } from './openapi.js';

let master: TestMaster;

beforeAll(async () => {
  master = await testMaster();
});
afterAll(() => master.stop());

/** Who is waited for in vain when it stops fails the test. */
function patientMaster(): Promise<TestMaster> {
  return testMaster({ limits: { ...readConfig({}).limits, stopMs: 3_600_000 } });
}

async function problem(method: string, path: string, options?: CallOptions): Promise<Problem> {
  const answer = await master.call(method, path, options);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  const body = (await answer.json()) as Problem;
  expect(body).toMatchObject({ status: answer.status, title: expect.any(String) });
  return body;
}

describe('errors over HTTP', () => {
  it('name the nearest known key for an unknown one, and every bad field', async () => {
    const json = { name: 'x', scope: ['read'], scopes: ['write'] };
    expect(await problem('POST', '/api/v1/tokens', { json })).toMatchObject({
      status: 400,
      code: 'invalid-request',
      problems: expect.arrayContaining([
        { path: 'scope', message: 'unknown key; did you mean scopes?' },
        { path: 'scopes', message: expect.stringContaining('read, trigger, admin') },
      ]),
    });
  });

  it.each([
    ['GET', '/api/v1/nothing'],
    ['GET', '/api/nothing'],
    ['POST', '/nothing'],
    ['GET', '/health/nothing'],
  ])('answer %s %s with not-found', async (method, path) => {
    expect(await problem(method, path)).toMatchObject({ status: 404, code: 'not-found' });
  });

  it('refuse a body that is no JSON, of another type, or too large', async () => {
    const headers = { 'content-type': 'application/json' };
    const bad = await problem('POST', '/api/v1/tokens', { body: '{"name":', headers });
    expect(bad).toMatchObject({ status: 400, code: 'invalid-request' });
    const strange = { body: '<x/>', headers: { 'content-type': 'application/xml' } };
    expect(await problem('POST', '/api/v1/tokens', strange)).toMatchObject({
      code: 'invalid-request',
    });
    const big = 'x'.repeat(master.config.limits.bodyBytes + 1);
    expect(await problem('POST', '/api/v1/tokens', { json: { name: big } })).toMatchObject({
      status: 413,
      code: 'too-large',
    });
  });

  it('keep pages between one and the most', async () => {
    for (const limit of ['0', '201', '-1', 'x', '1.5'])
      expect(await problem('GET', `/api/v1/tokens?limit=${limit}`)).toMatchObject({
        code: 'invalid-request',
        problems: [{ path: 'limit' }],
      });
    const answer = await master.call('GET', '/api/v1/tokens?limit=200');
    expect(((await answer.json()) as Page<Token>).next).toBeNull();
    expect(await problem('GET', '/api/v1/tokens?limits=3')).toMatchObject({
      problems: [{ path: 'limits', message: 'unknown key; did you mean limit?' }],
    });
  });

  it('say database-unavailable while the database is away, and all is well when it is back', async () => {
    setLogLevel('silent');
    const restore = await master.testDatabase.cutOff();
    expect(await problem('GET', '/api/v1/tokens')).toMatchObject({
      status: 503,
      code: 'database-unavailable',
    });
    const answer = await master.call('GET', '/api/v1/tokens');
    expect(answer.headers.get('retry-after')).toBe('5');
    expect((await master.call('GET', '/health/live', { token: null })).status).toBe(200);
    expect((await master.call('GET', '/health/ready', { token: null })).status).toBe(503);
    await restore();
    expect((await master.call('GET', '/api/v1/tokens')).status).toBe(200);
    expect((await master.call('GET', '/health/ready', { token: null })).status).toBe(200);
    setLogLevel('error');
  });
});

describe('the port', () => {
  it('that is taken is named, with what to do, and nothing else is begun', async () => {
    const port = Number(new URL(master.url).port);
    const taken = withConfig(master.config, { port, databaseUrl: 'postgres://nowhere.invalid/x' });
    await expect(startMaster(taken)).rejects.toMatchObject({
      code: 'port-taken',
      message: expect.stringContaining('IMPGEM_PORT'),
    });
  });

  it('answers health checks while the database is away at the start', async () => {
    const giveUp = new AbortController();
    const config = withConfig(master.config, {
      port: await freePort(),
      databaseUrl: 'postgres://impgem@127.0.0.1:1/impgem',
    });
    const starting = startMaster(config, { signal: giveUp.signal }).catch(
      (error: unknown) => error,
    );
    const at = `http://127.0.0.1:${config.port}`;
    const live = await untilAnswered(`${at}/health/live`);
    expect(live.status).toBe(200);
    expect((await fetch(`${at}/health/ready`)).status).toBe(503);
    const answer = await fetch(`${at}/api/v1/tokens`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: 'database-unavailable' });
    giveUp.abort(new Error('enough'));
    expect(await starting).toMatchObject({ message: expect.any(String) });
    await expect(fetch(`${at}/health/live`)).rejects.toThrow();
  });
});

describe('a start', () => {
  it('goes on when the database comes', async () => {
    const late = await testDatabase();
    const restore = await late.cutOff();
    setLogLevel('silent');
    const dataDir = await mkdtemp(path.join(tmpdir(), 'impgem-test-late-'));
    const port = await freePort();
    const config = withConfig(master.config, { port, dataDir, databaseUrl: late.url });
    const starting = startMaster(config);
    const at = `http://127.0.0.1:${port}/health/ready`;
    expect((await untilAnswered(at)).status).toBe(503);
    await restore();
    const started = await starting;
    const ready = await fetch(at).catch(() => ({ status: 0 }));
    const stopped = await started.stop();
    setLogLevel('error');
    await late.drop();
    await rm(dataDir, { recursive: true, force: true });
    expect([ready.status, stopped]).toEqual([200, true]);
  });

  it('says at once when the database does not want the master', async () => {
    const url = new URL(master.testDatabase.url);
    url.password = 'wrong';
    const config = withConfig(master.config, { port: 0, databaseUrl: url.href });
    await expect(startMaster(config)).rejects.toMatchObject({
      code: 'database-refused',
      message: expect.stringContaining('DATABASE_URL'),
    });
  });
});

describe('a stop', () => {
  it('lets a running request end and refuses new ones', async () => {
    const stopped = await testMaster();
    const held = await stopped.database.transaction(async (tx) => {
      await tx.query('LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE');
      const running = stopped.call('GET', '/api/v1/tokens');
      await waitsForLock(stopped);
      const end = stopped.stop();
      return { running, end };
    });
    expect((await held.running).status).toBe(200);
    await held.end;
    await expect(fetch(`${stopped.url}/health/live`)).rejects.toThrow();
  });
});

describe('a stop of open sockets', () => {
  it('waits for nobody who asks nothing', async () => {
    const stopped = await patientMaster();
    const silent = connect(Number(new URL(stopped.url).port), '127.0.0.1');
    await once(silent, 'connect');
    const closed = once(silent, 'close');
    await stopped.stop();
    await closed;
  });

  it('waits for an answer that is under way, and not for the next question', async () => {
    const stopped = await patientMaster();
    const answer = await stopped.call('GET', '/api/docs/swagger-ui-bundle.js', { token: null });
    const end = stopped.stop();
    expect((await answer.text()).length).toBeGreaterThan(1_000_000);
    await end;
  });

  it('closes viewers with 1001', async () => {
    const stopped = await testMaster();
    const socket = new WebSocket(new URL('/api/v1/live', stopped.url.replace('http', 'ws')), {
      headers: { authorization: `Bearer ${stopped.token}` },
    });
    await once(socket, 'open');
    const closed = once(socket, 'close');
    await stopped.stop();
    expect(((await closed) as [number])[0]).toBe(1001);
  });

  it('had let in nobody without a token, or from another page', async () => {
    const attempt = async (headers: Record<string, string>) => {
      const socket = new WebSocket(new URL('/api/v1/live', master.url.replace('http', 'ws')), {
        headers,
      });
      const [error] = (await once(socket, 'error')) as [Error];
      return error.message;
    };
    expect(await attempt({})).toContain('401');
    expect(await attempt({ authorization: 'Bearer igt_no' })).toContain('401');
    const answer = await master.call('POST', '/api/v1/session', {
      token: null,
      json: { token: master.token },
    });
    const cookie = (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
    expect(await attempt({ cookie, origin: 'https://evil.example' })).toContain('403');
  });
});

describe('who may use a route', () => {
  it('is told by the document for each of them, and kept', async () => {
    const { token: read } = await master.newToken(['read']);
    const { token: trigger } = await master.newToken(['trigger']);
    const { paths } = openApiDocument(master.app);
    const checked: string[] = [];
    for (const [pattern, item] of Object.entries(paths))
      for (const [method, operation] of Object.entries(item as Record<string, object>)) {
        const { 'x-scope': scope } = operation as { 'x-scope'?: string };
        const route = `${method.toUpperCase()} ${pattern}`;
        expect([route, scope]).toEqual([
          route,
          expect.stringMatching(/^(public|read|trigger|admin)$/),
        ]);
        if (scope === 'public') continue;
        const path = pattern.replaceAll(/\{[^}]+\}/g, '1');
        const lower = scope === 'admin' ? trigger : scope === 'trigger' ? read : undefined;
        const none = await master.call(method.toUpperCase(), path, { token: null });
        expect([route, none.status]).toEqual([route, 401]);
        if (lower !== undefined) {
          const low = await master.call(method.toUpperCase(), path, { token: lower });
          expect([route, low.status]).toEqual([route, 403]);
        }
        checked.push(route);
      }
    expect(checked.length).toBeGreaterThan(5);
  });

  it('is open to few: health, signing in, and what has a token of its own', () => {
    const { paths } = openApiDocument(master.app);
    const open = Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item as Record<string, { 'x-scope'?: string }>)
        .filter(([, operation]) => operation['x-scope'] === 'public')
        .map(([method]) => `${method} ${path}`),
    );
    const known = ['get /health/live', 'get /health/ready', 'post /api/v1/session'];
    expect(open.filter((route) => !known.includes(route))).toEqual(
      open.includes('post /api/v1/workers/register') ? ['post /api/v1/workers/register'] : [],
    );
  });
});

describe('the rest of the edge', () => {
  it('serves the document, its page, metrics, and answers with a strict policy', async () => {
    const docs = await master.call('GET', '/api/docs-json', { token: null });
    expect(await docs.json()).toMatchObject({ openapi: expect.any(String) });
    const page = await master.call('GET', '/api/docs', { token: null });
    expect(await page.text()).toContain('/api/docs/swagger-ui-bundle.js');
    const script = await master.call('GET', '/api/docs/swagger-ui-bundle.js', { token: null });
    expect(script.status).toBe(200);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("script-src 'self';");
    expect(policy).toContain("connect-src 'self';");
    expect((await master.call('GET', '/metrics', { token: null })).status).toBe(401);
    const metrics = await (await master.call('GET', '/metrics')).text();
    expect(metrics).toContain('impgem_database_up 1');
    expect(metrics).toContain('impgem_http_request_duration_seconds_bucket');
  });

  it('does not trust a request line of nonsense', async () => {
    const text = await raw(
      master.url,
      'GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    expect(text).not.toContain('root:');
  });
});

function raw(url: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.end(text));
    let answer = '';
    socket.on('data', (piece) => (answer += String(piece)));
    socket.on('end', () => resolve(answer));
    socket.on('error', reject);
  });
}

async function untilAnswered(url: string): Promise<Response> {
  for (;;) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer) return answer;
  }
}

const waitsForLock = ({ database }: TestMaster) =>
  until(async () => (await lockWaits(database)) > 0);

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
