import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildRequest } from '@impgem/client';
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

  it('commits together what comes together, each with its event and its line in the audit', async () => {
    const made = await Promise.all(
      Array.from({ length: 20 }, (_, n) => submit({ builder: 'bye', reason: `${n}` })),
    );
    const requests = made.map(({ body }) => body.id);
    expect(made.map(({ body }) => body.reason)).toEqual(requests.map((_, n) => `${n}`));
    const [told] = await master.database.query<{ reasons: string[]; xids: number }>(
      `SELECT array_agg(data->>'reason' ORDER BY request_id) AS reasons, count(DISTINCT xid) AS xids
       FROM events WHERE kind = 'request.submitted' AND request_id = ANY($1)`,
      [requests],
    );
    const byId = made.toSorted((a, b) => a.body.id - b.body.id);
    expect(told?.reasons).toEqual(byId.map(({ body }) => body.reason));
    expect(told?.xids).toBeLessThan(requests.length);
    const audited = await master.database.query<{ target: string }>(
      `SELECT target FROM audit WHERE action = 'build-request.create' AND detail->'request' <@ to_jsonb($1::int[])`,
      [requests],
    );
    expect(audited).toHaveLength(requests.length);
  });
});
