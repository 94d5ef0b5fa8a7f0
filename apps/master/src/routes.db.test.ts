/** What holds for all routes alike, taken from the document that names them. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { AuditEntry, Page } from '@impgem/client';
import { SeededBuild, WORKER } from './builds/testing.js';
import { openApiDocument } from './platform/http/openapi.js';
import { testMaster, type TestMaster } from './testing.js';

interface Operation {
  parameters?: { name: string; in: string; schema?: { default?: unknown; maximum?: unknown } }[];
  responses: Record<string, { content?: Record<string, { schema?: Schema }> }>;
}
interface Schema {
  properties?: Record<string, unknown>;
  required?: string[];
}

const FARM = "builders: { hello: { steps: [{ run: 'true' }] } }";

let master: TestMaster;
let operations: { route: string; operation: Operation }[];
beforeAll(async () => {
  master = await testMaster();
  await master.database.query(`INSERT INTO workers (id, name, secret_hash) VALUES ($1, $2, '')`, [
    WORKER.id,
    WORKER.name,
  ]);
  const { paths } = openApiDocument(master.app);
  operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item as Record<string, Operation>).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path}`,
      operation,
    })),
  );
});
afterAll(() => master?.stop());

async function ask<T>(method: string, path: string, json?: unknown, token?: string): Promise<T> {
  const answer = await master.call(method, `/api/v1${path}`, {
    ...(json === undefined ? {} : { json }),
    ...(token === undefined ? {} : { token }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return (text ? JSON.parse(text) : undefined) as T;
}

const lastAudit = async () =>
  (await ask<Page<AuditEntry>>('GET', '/audit?limit=1')).items[0] ?? { id: 0, action: 'none' };

/** Signs in as the page does, and out again. */
async function signInAndOut(out: boolean): Promise<void> {
  const answer = await master.call('POST', '/api/v1/session', {
    token: null,
    json: { token: master.token },
    headers: { origin: master.url },
  });
  if (!out) return;
  const cookie = (answer.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  const { csrf } = (await answer.json()) as { csrf: string };
  const headers = { cookie, origin: master.url, 'x-csrf-token': csrf };
  const gone = await master.call('DELETE', '/api/v1/session', { token: null, headers });
  expect(gone.status).toBe(204);
}

const registration = () =>
  ask<{ id: string; token: string }>('POST', '/registration-tokens', { uses: 9 });
const register = async (name: string) =>
  ask('POST', '/workers/register', { name }, (await registration()).token);
const request = () => ask<{ id: number }>('POST', '/build-requests', { builder: 'hello' });

/** Each route that changes something: how to call it, and what the audit says then. */
const CHANGES: Record<string, [string, () => Promise<unknown>]> = {
  'PUT /api/v1/farm': ['farm.apply', () => ask('PUT', '/farm', { source: FARM })],
  'POST /api/v1/session': ['session.create', () => signInAndOut(false)],
  'DELETE /api/v1/session': ['session.end', () => signInAndOut(true)],
  'POST /api/v1/tokens': ['token.create', () => master.newToken(['read'])],
  'DELETE /api/v1/tokens/{id}': [
    'token.revoke',
    async () => ask('DELETE', `/tokens/${(await master.newToken(['read'])).id}`),
  ],
  'POST /api/v1/registration-tokens': ['registration-token.create', registration],
  'DELETE /api/v1/registration-tokens/{id}': [
    'registration-token.revoke',
    async () => ask('DELETE', `/registration-tokens/${(await registration()).id}`),
  ],
  'POST /api/v1/workers/register': ['worker.register', () => register('one')],
  'POST /api/v1/workers/{name}/rotate': ['worker.rotate', () => ask('POST', '/workers/one/rotate')],
  'POST /api/v1/workers/{name}/resume': ['worker.resume', () => ask('POST', '/workers/one/resume')],
  'DELETE /api/v1/workers/{name}': ['worker.revoke', () => ask('DELETE', '/workers/one')],
  'POST /api/v1/retention': ['retention.run', () => ask('POST', '/retention', {})],
  'POST /api/v1/build-requests': ['build-request.create', request],
  'POST /api/v1/build-requests/batch': [
    'build-request.create',
    () => ask('POST', '/build-requests/batch', { requests: [{ builder: 'hello' }] }),
  ],
  'POST /api/v1/build-requests/{id}/cancel': [
    'build-request.cancel',
    async () => ask('POST', `/build-requests/${(await request()).id}/cancel`, {}),
  ],
  'POST /api/v1/builds/{id}/cancel': [
    'build.cancel',
    async () => {
      const build = await SeededBuild.begin(master.database);
      return ask('POST', `/builds/${build.id}/cancel`, {});
    },
  ],
};
/** Changes nothing, though it is no GET: it takes a body. */
const HARMLESS = ['POST /api/v1/farm/lint'];

describe('every route', () => {
  it('that changes something is known here', () => {
    const changing = operations
      .map(({ route }) => route)
      .filter((route) => !/^(GET|HEAD) /.test(route) && !HARMLESS.includes(route));
    expect(changing.toSorted()).toEqual(Object.keys(CHANGES).toSorted());
  });

  it.each(Object.entries(CHANGES))(
    'writes into the audit who did it: %s',
    async (_, [action, call]) => {
      const before = await lastAudit();
      await call();
      const after = await lastAudit();
      expect(after.id).toBeGreaterThan(before.id);
      expect(after).toMatchObject({
        action,
        actor: expect.stringMatching(/^(token:first-admin|worker:one)$/),
      });
      expect(JSON.stringify(after)).not.toMatch(/ig[trw]_[a-z0-9]{12}_/);
    },
  );

  it('is documented with what it answers', () => {
    for (const { route, operation } of operations) {
      const answers = Object.entries(operation.responses);
      const good = answers.filter(([status]) => status.startsWith('2'));
      expect([route, good.length]).toEqual([route, 1]);
      const [status, answer] = good[0] ?? ['none', {}];
      if (status === '204') continue;
      const types = Object.entries(answer.content ?? {});
      expect([route, types.length]).toEqual([route, 1]);
      expect([route, types[0]?.[1].schema]).toEqual([route, expect.any(Object)]);
      expect([route, operation.responses['default']?.content]).toEqual([
        route,
        { 'application/problem+json': expect.any(Object) },
      ]);
      const named = [...route.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const told = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      expect([route, told.map(({ name }) => name).toSorted()]).toEqual([route, named.toSorted()]);
    }
  });

  it('that lists does so in pages, with a default and a maximum', async () => {
    const build = await SeededBuild.begin(master.database);
    const lists = operations.filter(({ route, operation }) => {
      const schema = operation.responses['200']?.content?.['application/json']?.schema;
      const items = schema?.properties?.['items'];
      return route.startsWith('GET ') && items !== undefined;
    });
    expect(lists.length).toBeGreaterThan(8);
    for (const { route, operation } of lists) {
      const names = (operation.parameters ?? []).map(({ name }) => name);
      expect([route, names]).toEqual([route, expect.arrayContaining(['after', 'limit'])]);
      const limit = operation.parameters?.find(({ name }) => name === 'limit')?.schema;
      expect([route, limit]).toMatchObject([route, { default: 50, maximum: 200 }]);
      const path = route.replace('GET ', '').replace('{id}', String(build.id));
      const fits = await master.call('GET', `${path}?limit=200`);
      expect([route, fits.status]).toEqual([route, 200]);
      expect(await fits.json()).toMatchObject({ items: expect.any(Array) });
      const tooMany = await master.call('GET', `${path}?limit=201`);
      expect([route, tooMany.status]).toEqual([route, 400]);
    }
  });

  it('gives no list that has no pages', () => {
    const bare = operations.filter(({ operation }) => {
      const schema = operation.responses['200']?.content?.['application/json']?.schema;
      return (schema as { type?: string } | undefined)?.type === 'array';
    });
    expect(bare.map(({ route }) => route)).toEqual([]);
  });
});
