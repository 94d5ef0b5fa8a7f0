import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildDetail, Builder, BuildRequest, Page, Problem } from '@impgem/client';
import { type TestMaster, testMaster } from '../testing.js';
import { SeededBuild, WORKER } from './testing.js';

const FARM = `
builders:
  hello:
    description: says hello
    image: busybox:1.37
    source: { git: https://example.org/a.git }
    properties:
      name: { default: world, description: whom }
      level: { choices: [low, high], default: low }
      key: { required: true }
    steps: [{ name: greet, run: echo hi }]
    artifacts: ['out/*']
  bye:
    image: busybox:1.37
    steps: [{ name: leave, run: 'true' }]
`;

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
  await master.database.query(`INSERT INTO workers (id, name, secret_hash) VALUES ($1, $2, '')`, [
    WORKER.id,
    WORKER.name,
  ]);
  const applied = await master.call('PUT', '/api/v1/farm', { json: { source: FARM } });
  expect(applied.status).toBe(200);
});
afterAll(() => master.stop());

async function call<T>(method: string, path: string, json?: unknown, token?: string) {
  const answer = await master.call(method, `/api/v1${path}`, {
    ...(json === undefined ? {} : { json }),
    ...(token === undefined ? {} : { token }),
  });
  return { status: answer.status, body: (await answer.json()) as T };
}
const ids = async (query: string) =>
  (await call<Page<{ id: number }>>('GET', `/builds?${query}`)).body.items.map(({ id }) => id);
const submit = (wish: object) => call<BuildRequest>('POST', '/build-requests', wish);

describe('POST /build-requests', () => {
  it('queues a request with the defaults filled in', async () => {
    const { status, body } = await submit({
      builder: 'hello',
      properties: { key: 'k' },
      priority: 2,
      reason: 'because',
    });
    expect(status).toBe(201);
    expect(body).toMatchObject({
      builder: 'hello',
      state: 'pending',
      result: null,
      reason: 'because',
      properties: { name: 'world', level: 'low', key: 'k' },
      priority: 2,
      submittedBy: 'token:first-admin',
      builds: [],
    });
    expect((await call('GET', `/build-requests/${body.id}`)).body).toEqual(body);
    const audit = await call<Page<object>>('GET', '/audit?limit=1');
    expect(audit.body.items).toMatchObject([{ action: 'build-request.create', target: 'hello' }]);
  });

  it.each<[string, object, number, string, string]>([
    ['an unknown builder', { builder: 'helo' }, 404, 'unknown-builder', 'did you mean hello?'],
    ['a name that is none', { builder: 'a\u0000b' }, 404, 'unknown-builder', 'there is no builder'],
    [
      'an undeclared property',
      { builder: 'hello', properties: { nam: 'x', key: 'k' } },
      422,
      'undeclared-property',
      'did you mean name?',
    ],
    ['a missing property', { builder: 'hello' }, 422, 'invalid-property', 'key'],
    [
      'a value that is no choice',
      { builder: 'hello', properties: { key: 'k', level: 'x' } },
      422,
      'invalid-property',
      'low, high',
    ],
    [
      'a value that is no text',
      { builder: 'hello', properties: { key: 1 } },
      422,
      'invalid-property',
      'key',
    ],
    ['an unknown key', { bilder: 'hello', builder: 'hello' }, 400, 'invalid-request', 'builder'],
    ['no builder', {}, 400, 'invalid-request', 'builder'],
    [
      'a priority out of bounds',
      { builder: 'bye', priority: 1e9 },
      400,
      'invalid-request',
      'priority',
    ],
    ['a NUL in the reason', { builder: 'bye', reason: '\u0000' }, 400, 'invalid-request', 'reason'],
  ])('refuses %s', async (_, wish, status, code, text) => {
    const before = await call<Page<object>>('GET', '/build-requests');
    const { status: got, body } = await call<Problem>('POST', '/build-requests', wish);
    expect([got, body.code]).toEqual([status, code]);
    expect(body.detail).toContain(text);
    expect((await call('GET', '/build-requests')).body).toEqual(before.body);
  });

  it('needs the scope trigger', async () => {
    const { token } = await master.newToken(['read']);
    const { status, body } = await call<Problem>(
      'POST',
      '/build-requests',
      { builder: 'bye' },
      token,
    );
    expect([status, body.code]).toEqual([403, 'forbidden']);
  });
});

describe('a list', () => {
  it('is paged without gap or doubling, and filtered', async () => {
    const made: number[] = [];
    for (let n = 0; n < 5; n++) made.unshift((await submit({ builder: 'bye' })).body.id);
    const seen: number[] = [];
    let next: string | null = '';
    while (next !== null) {
      const after: string = next === '' ? '' : `&after=${next}`;
      const path = `/build-requests?builder=bye&state=pending&limit=2${after}`;
      const page = (await call<Page<BuildRequest>>('GET', path)).body;
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ id }) => id));
      next = page.next;
    }
    expect(seen).toEqual(made);
  });

  it.each([
    ['/builds?limit=0', 400, 'invalid-request'],
    ['/builds?limit=201', 400, 'invalid-request'],
    ['/builds?after=x', 400, 'invalid-request'],
    ['/builds?sate=running', 400, 'invalid-request'],
    ['/builds?result=good', 400, 'invalid-request'],
    ['/builds?builder=helo', 404, 'unknown-builder'],
    ['/builds/x', 404, 'not-found'],
    ['/builds/99999', 404, 'not-found'],
    ['/build-requests/99999', 404, 'not-found'],
    ['/builders/hello/builds/99999', 404, 'not-found'],
    ['/builders/helo', 404, 'unknown-builder'],
  ])('or a thing at %s is refused with %i %s', async (path, status, code) => {
    const { status: got, body } = await call<Problem>('GET', path);
    expect([got, body.code]).toEqual([status, code]);
  });
});

describe('a build', () => {
  it('shows steps, artifacts, what it ran with, and stands under its number', async () => {
    const build = await SeededBuild.begin(master.database);
    await build.log(['stdout', 'hello\n']);
    await master.database.query(
      `INSERT INTO artifacts (build_id, number, path, size, sha256, mode) VALUES ($1, 0, 'out/a', 1, 'ff', 420)`,
      [build.id],
    );
    const { status, body } = await call<BuildDetail>('GET', `/builds/${build.id}`);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      id: build.id,
      builder: 'hello',
      request: build.request,
      attempt: 1,
      state: 'running',
      worker: 'w',
      steps: [
        { index: 0, name: 's', kind: 'run', state: 'pending', log: { bytes: 6, finished: false } },
      ],
      artifacts: [{ path: 'out/a', size: 1, sha256: 'ff', mode: 420 }],
      plan: { steps: [] },
      farmVersion: 1,
    });
    expect((await call('GET', `/builders/hello/builds/${body.number}`)).body).toEqual(body);
    const request = await call<BuildRequest>('GET', `/build-requests/${build.request}`);
    expect(request.body.builds).toEqual([
      { id: build.id, number: body.number, state: 'running', result: null },
    ]);
  });

  it('is listed by state, result and builder', async () => {
    const running = await SeededBuild.begin(master.database);
    const failed = await SeededBuild.begin(master.database);
    await failed.finish('failure');
    expect(await ids('state=running')).toContain(running.id);
    expect(await ids('state=running')).not.toContain(failed.id);
    expect(await ids('result=failure')).toEqual([failed.id]);
    expect((await ids('builder=hello&limit=2')).slice(0, 2)).toEqual([failed.id, running.id]);
    expect(await ids('builder=bye')).toEqual([]);
  });

  it('is cancelled as often as asked, until it is finished', async () => {
    const build = await SeededBuild.begin(master.database);
    const path = `/builds/${build.id}/cancel`;
    for (let again = 0; again < 2; again++) {
      const { status, body } = await call<BuildDetail>('POST', path, { reason: 'enough' });
      expect([status, body.state]).toEqual([200, 'cancelling']);
    }
    await build.finish('cancelled');
    const { status, body } = await call<Problem>('POST', path);
    expect([status, body.code]).toEqual([409, 'already-finished']);
    expect((await call<Problem>('POST', '/builds/99999/cancel')).status).toBe(404);
  });
});

describe('a request', () => {
  it('that waits ends at once when it is cancelled, and cannot be cancelled again', async () => {
    const { body } = await submit({ builder: 'bye' });
    const path = `/build-requests/${body.id}/cancel`;
    const cancelled = await call<BuildRequest>('POST', path, {});
    expect(cancelled).toMatchObject({
      status: 200,
      body: { state: 'finished', result: 'cancelled' },
    });
    expect((await call<Problem>('POST', path)).body.code).toBe('already-finished');
  });

  it('that is claimed has its build cancelled', async () => {
    const build = await SeededBuild.begin(master.database);
    const { status } = await call('POST', `/build-requests/${build.request}/cancel`);
    expect(status).toBe(200);
    expect((await call<BuildDetail>('GET', `/builds/${build.id}`)).body.state).toBe('cancelling');
  });
});

describe('builders', () => {
  it('come in the order of the file, with their last build and what waits and runs', async () => {
    const build = await SeededBuild.begin(master.database);
    const { body } = await call<Page<Builder>>('GET', '/builders');
    expect(body.items.map(({ name }) => name)).toEqual(['hello', 'bye']);
    const [hello] = body.items;
    expect(hello).toMatchObject({
      description: 'says hello',
      image: 'busybox:1.37',
      source: { git: 'https://example.org/a.git', ref: null },
      farmVersion: 1,
      steps: [
        { name: 'checkout', kind: 'checkout' },
        { name: 'greet', kind: 'run' },
        { name: 'artifacts', kind: 'artifacts' },
      ],
      lastBuild: { id: build.id, state: 'running', worker: 'w', startedAt: null },
    });
    expect(hello?.properties.key).toEqual({
      description: null,
      default: null,
      required: true,
      choices: null,
    });
    expect(hello?.running).toBeGreaterThan(0);
    const detail = await call<BuildDetail>('GET', `/builds/${build.id}`);
    expect(hello?.lastBuild?.createdAt).toBe(detail.body.createdAt);
    expect((await call<Builder>('GET', '/builders/bye')).body).toMatchObject({
      name: 'bye',
      lastBuild: null,
    });
    const first = await call<Page<Builder>>('GET', '/builders?limit=1');
    const second = await call<Page<Builder>>('GET', `/builders?limit=1&after=${first.body.next}`);
    expect([second.body.items[0]?.name, second.body.next]).toEqual(['bye', null]);
  });

  it('of a file that was applied with credentials in its sources are shown without them', async () => {
    const build = await SeededBuild.begin(master.database);
    const old = 'https://me:s3cret@example.org/a.git';
    const source = JSON.stringify({ git: old });
    const reason = JSON.stringify({ code: 'source-unavailable', message: `${old} cannot be had` });
    await master.database.query(
      `UPDATE builders SET definition = definition || jsonb_build_object('source', $1::jsonb)`,
      [source],
    );
    await master.database.query(
      `UPDATE farm_versions SET source = replace(source, 'https://example.org/a.git', $1)`,
      [old],
    );
    await master.database.query(
      `UPDATE builds SET plan = plan || jsonb_build_object('source', $1::jsonb), reason = $2::jsonb WHERE id = $3`,
      [source, reason, build.id],
    );
    for (const path of [
      '/builders',
      '/builders/hello',
      '/farm',
      '/farm/versions',
      '/builds',
      `/builds/${build.id}`,
    ]) {
      const { status, body } = await call('GET', path);
      expect([path, status]).toEqual([path, 200]);
      expect(JSON.stringify(body)).not.toContain('s3cret');
    }
    expect((await call<BuildDetail>('GET', `/builds/${build.id}`)).body).toMatchObject({
      plan: { source: { git: 'https://example.org/a.git' } },
      reason: { message: 'https://example.org/a.git cannot be had' },
    });
    expect((await call<{ source: string }>('GET', '/farm')).body.source).toBe(FARM);
  });
});
