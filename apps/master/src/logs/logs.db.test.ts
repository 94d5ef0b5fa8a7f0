import { request } from 'node:http';
import { once } from 'node:events';
import { gunzipSync } from 'node:zlib';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { StreamName } from '@impgem/protocol';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import { type TestMaster, testMaster } from '../testing.js';

let master: TestMaster;
let build: SeededBuild;
let whole: Buffer;

beforeAll(async () => {
  master = await testMaster();
  await seedFarm(master.database);
  build = await SeededBuild.begin(master.database);
  // More chunks than are read at once, of every stream, with bytes that are no UTF-8.
  const chunks = Array.from({ length: 75 }, (_, n): [StreamName, Buffer] => [
    (['stdout', 'stderr', 'system'] as const)[n % 3] ?? 'stdout',
    Buffer.concat([Buffer.from(`${n}: x${'x'.repeat(n * 7)}\n`), Buffer.from([0xff, 0, 0xc3])]),
  ]);
  whole = Buffer.concat(chunks.map(([, bytes]) => bytes));
  await build.log(...chunks.slice(0, 40));
  await build.log(...chunks.slice(40));
});
afterAll(() => master.stop());

/** Plain HTTP: `fetch` would undo the encoding. */
async function get(
  headers: Record<string, string>,
  query = '',
  id = build.id,
): Promise<{ answer: IncomingMessage; body: Buffer }> {
  const url = new URL(`/api/v1/builds/${id}/steps/0/log${query}`, master.url);
  const asked = request(url, { headers: { authorization: `Bearer ${master.token}`, ...headers } });
  asked.end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part as Buffer);
  return { answer, body: Buffer.concat(parts) };
}

describe('the log of a step', () => {
  it('comes whole, as text that no browser takes for a page', async () => {
    const { answer, body } = await get({});
    expect(body.equals(whole)).toBe(true);
    expect(answer.statusCode).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'text/plain; charset=utf-8',
      'content-length': String(whole.length),
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringContaining('sandbox'),
      'x-log-complete': 'false',
      'x-log-bytes': String(whole.length),
      vary: expect.stringContaining('accept-encoding'),
    });
  });

  it('comes as one gzip stream of the stored chunks when that is accepted', async () => {
    const { answer, body } = await get({ 'accept-encoding': 'gzip, br' });
    expect(answer.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(body).equals(whole)).toBe(true);
  });

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=100-1999', 100, 2000],
    ['bytes=5000-', 5000, undefined],
    ['bytes=-10', -10, undefined],
    ['bytes=10-999999999', 10, undefined],
  ])('comes in part for %s', async (range, from, to) => {
    const { answer, body } = await get({ range, 'accept-encoding': 'gzip' });
    expect(answer.statusCode).toBe(206);
    expect(body.equals(whole.subarray(from, to))).toBe(true);
    const start = from < 0 ? whole.length + from : from;
    expect(answer.headers['content-range']).toBe(
      `bytes ${start}-${start + body.length - 1}/${whole.length}`,
    );
  });

  it('is refused for a range outside, and comes whole for one that is none', async () => {
    const { answer, body } = await get({ range: 'bytes=999999999-' });
    expect(answer.statusCode).toBe(416);
    expect(JSON.parse(String(body))).toMatchObject({ code: 'range-not-satisfiable' });
    expect((await get({ range: 'lines=1-2' })).body.length).toBe(whole.length);
  });

  it('comes for one stream alone', async () => {
    const { body } = await get({ 'accept-encoding': 'gzip' }, '?stream=stderr');
    const lines = String(body).match(/\d+(?=: x)/g);
    expect(lines).toEqual(Array.from({ length: 25 }, (_, n) => String(n * 3 + 1)));
    expect((await get({}, '?stream=both')).answer.statusCode).toBe(400);
  });

  it('tells its size to HEAD, without the bytes', async () => {
    const answer = await master.call('HEAD', `/api/v1/builds/${build.id}/steps/0/log`, {
      headers: { 'accept-encoding': 'identity' },
    });
    expect(answer.headers.get('content-length')).toBe(String(whole.length));
    expect(await answer.text()).toBe('');
  });

  it('says when it is complete, also when it is empty', async () => {
    const empty = await SeededBuild.begin(master.database);
    await empty.finishStep();
    const plain = await get({}, '', empty.id);
    expect(plain.answer.headers).toMatchObject({ 'x-log-complete': 'true', 'content-length': '0' });
    const gzip = await get({ 'accept-encoding': 'gzip' }, '', empty.id);
    expect(gunzipSync(gzip.body)).toHaveLength(0);
  });

  it.each(['/api/v1/builds/999999/steps/0/log', '/api/v1/builds/1/steps/7/log'])(
    'is not there at %s',
    async (path) => {
      const answer = await master.call('GET', path);
      expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'not-found' }]);
    },
  );

  it('stays served to others when a reader goes away in the middle', async () => {
    const big = await SeededBuild.begin(master.database);
    for (let n = 0; n < 64; n++) await big.log(['stdout', Buffer.alloc(65_536, n)]);
    const url = new URL(`/api/v1/builds/${big.id}/steps/0/log`, master.url);
    const asked = request(url, { headers: { authorization: `Bearer ${master.token}` } });
    asked.end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    await once(answer, 'data');
    asked.destroy();
    expect((await get({}, '', big.id)).body.length).toBe(64 * 65_536);
  });
});
