import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildRequest, BuildRequests, Problem } from '@impgem/client';
import { LIMITS } from '../platform/index.js';
import { until } from '../scheduling/testing.js';
import { type TestMaster, testMaster } from '../testing.js';

const FARM = `
builders:
  hello:
    image: busybox:1.37
    steps: [{ name: greet, run: echo hi }]
  bye:
    image: busybox:1.37
    steps: [{ name: leave, run: 'true' }]
`;

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
  await call('PUT', '/farm', { source: FARM });
});
afterAll(() => master.stop());

async function call<T>(method: string, path: string, json: unknown) {
  const answer = await master.call(method, `/api/v1${path}`, { json });
  return { status: answer.status, body: (await answer.json()) as T };
}
const batch = (requests: object[]) =>
  call<BuildRequests & Problem>('POST', '/build-requests/batch', { requests });
const submit = (wish: object) => call<BuildRequest>('POST', '/build-requests', wish);

describe('a build request', () => {
  it('goes by the farm file that is in force, whenever it was applied', async () => {
    const wish = { builder: 'bye', properties: { polite: 'yes' } };
    expect((await submit(wish)).status).toBe(422);
    const polite = `${FARM}    properties: { polite: { default: 'no' } }\n`;
    await call('PUT', '/farm', { source: polite });
    expect((await submit(wish)).body.properties).toEqual({ polite: 'yes' });
    expect((await submit({ builder: 'bye' })).body.properties).toEqual({ polite: 'no' });
    await call('PUT', '/farm', { source: FARM.slice(0, FARM.indexOf('  bye:')) });
    expect((await submit({ builder: 'bye' })).status).toBe(404);
    await call('PUT', '/farm', { source: FARM });
    expect((await submit({ builder: 'bye' })).body.properties).toEqual({});
  });

  it('may come with others, all of them or none', async () => {
    const count = async () =>
      (await master.database.query<{ n: number }>('SELECT count(*) AS n FROM build_requests'))[0]
        ?.n;
    const wishes = Array.from({ length: 120 }, (_, n) => ({
      builder: n % 2 ? 'hello' : 'bye',
      reason: `batch ${n}`,
      priority: n % 3,
    }));
    const before = (await count()) ?? 0;
    const good = await batch(wishes);
    expect(good.status).toBe(201);
    expect(
      good.body.requests.map(({ builder, reason, priority }) => ({ builder, reason, priority })),
    ).toEqual(wishes);
    const ids = good.body.requests.map(({ id }) => id);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    const [told] = await master.database.query(
      `SELECT count(*) AS n, count(DISTINCT xid) AS xids FROM events
       WHERE kind = 'request.submitted' AND request_id = ANY($1)`,
      [ids],
    );
    expect(told).toEqual({ n: 120, xids: 1 });
    const alone = await master.call('GET', `/api/v1/build-requests/${ids[7]}`);
    expect(await alone.json()).toEqual(good.body.requests[7]);

    const bad = await batch([
      ...wishes,
      { builder: 'hallo' },
      { builder: 'bye', properties: { x: 'y' } },
    ]);
    expect([bad.status, bad.body.code]).toEqual([404, 'unknown-builder']);
    expect(bad.body.detail).toContain('2 of 122 requests');
    expect(bad.body.problems).toMatchObject([
      { path: 'requests[120].builder', message: expect.stringContaining('did you mean hello?') },
      { path: 'requests[121].properties.x' },
    ]);
    const malformed = await batch([{ builder: 'bye' }, { builder: 'bye', priority: 'high' }]);
    expect([malformed.status, malformed.body.problems?.[0]?.path]).toEqual([
      400,
      'requests[1].priority',
    ]);
    for (const wrong of [
      [],
      Array.from({ length: 501 }, () => ({ builder: 'bye' })),
      [null],
      ['bye'],
    ])
      expect((await batch(wrong as object[])).status).toBe(400);
    expect(await count()).toBe(before + 120);
  });

  it('in a batch, too, goes by the farm file that is in force', async () => {
    const wish = [{ builder: 'hello' }, { builder: 'bye', properties: { polite: 'yes' } }];
    const again = () => batch(wish);
    expect((await again()).status).toBe(422);
    await call('PUT', '/farm', {
      source: `${FARM}    properties: { polite: { default: 'no' } }\n`,
    });
    expect((await again()).body.requests[1]?.properties).toEqual({ polite: 'yes' });
    await call('PUT', '/farm', { source: FARM });
    expect((await again()).status).toBe(422);
  });

  it('comes with its event and its line in the audit, also when many come together', async () => {
    const made = await Promise.all(
      Array.from({ length: 20 }, (_, n) => submit({ builder: 'bye', reason: `${n}` })),
    );
    const requests = made.map(({ body }) => body.id);
    expect(made.map(({ body }) => body.reason)).toEqual(requests.map((_, n) => `${n}`));
    const [told] = await master.database.query<{ reasons: string[] }>(
      `SELECT array_agg(data->>'reason' ORDER BY request_id) AS reasons
       FROM events WHERE kind = 'request.submitted' AND request_id = ANY($1)`,
      [requests],
    );
    const byId = made.toSorted((a, b) => a.body.id - b.body.id);
    expect(told?.reasons).toEqual(byId.map(({ body }) => body.reason));
    const audited = await master.database.query<{ target: string }>(
      `SELECT target FROM audit WHERE action = 'build-request.create' AND detail->'request' <@ to_jsonb($1::int[])`,
      [requests],
    );
    expect(audited).toHaveLength(requests.length);
  });
});

describe('the queue', () => {
  it('keeps no copy of a definition for each request', async () => {
    const script = 'echo a script of some length\n'.repeat(2000);
    const steps = [{ name: 's', run: script }];
    const long = { builders: { long: { image: 'busybox:1.37', steps } } };
    expect((await call('PUT', '/farm', { source: JSON.stringify(long) })).status).toBe(200);
    const bytes = async () => {
      const [row] = await master.database.query<{ n: number }>(
        `SELECT sum(pg_column_size(r.*)) AS n FROM build_requests r`,
      );
      return row?.n ?? 0;
    };
    const before = await bytes();
    const wishes = Array.from({ length: 500 }, () => ({ builder: 'long' }));
    expect((await batch(wishes)).status).toBe(201);
    expect((await bytes()) - before).toBeLessThan(500 * 1024);
    const versions = await master.database.query(
      `SELECT DISTINCT v.definition->'steps'->0->>'run' AS run FROM build_requests r
       JOIN builder_versions v USING (builder_id, farm_version) JOIN builders b ON b.id = r.builder_id
       WHERE b.name = 'long'`,
    );
    expect(versions).toEqual([{ run: script }]);
    await call('PUT', '/farm', { source: FARM });
  });

  it('is bounded, in all and for each caller, for one request and for many', async () => {
    const small = { pendingRequests: 6, pendingRequestsPerCaller: 4 };
    const farm = await testMaster({ limits: { ...LIMITS, ...small } });
    try {
      await farm.call('PUT', '/api/v1/farm', { json: { source: FARM } });
      const [ann, bob] = [await farm.newToken(['trigger']), await farm.newToken(['trigger'])];
      const ask = async ({ token }: { token: string }, count: number) => {
        const requests = Array.from({ length: count }, () => ({ builder: 'bye' }));
        const one = count === 1;
        const answer = await farm.call('POST', `/api/v1/build-requests${one ? '' : '/batch'}`, {
          token,
          json: one ? requests[0] : { requests },
        });
        return [answer.status, (await answer.json()) as BuildRequests & Problem] as const;
      };
      expect((await ask(ann, 5))[0]).toBe(429);
      const [status, { requests }] = await ask(ann, 4);
      expect(status).toBe(201);
      expect(await ask(ann, 1)).toMatchObject([
        429,
        { code: 'queue-full', detail: expect.stringContaining('IMPGEM_QUEUE_MAX_PER_CALLER') },
      ]);
      expect((await ask(bob, 2))[0]).toBe(201);
      expect(await ask(bob, 1)).toMatchObject([
        429,
        { code: 'queue-full', detail: expect.stringContaining('(IMPGEM_QUEUE_MAX)') },
      ]);
      const metrics = await (await farm.call('GET', '/metrics')).text();
      expect(metrics).toMatch(/^impgem_queue_refused_total\{limit="caller"\} 6$/m);
      expect(metrics).toMatch(/^impgem_queue_refused_total\{limit="all"\} 1$/m);
      await farm.call('POST', `/api/v1/build-requests/${requests[0]?.id}/cancel`, { json: {} });
      await until(async () => (await ask(bob, 1))[0] === 201);
    } finally {
      await farm.stop();
    }
  });
});
