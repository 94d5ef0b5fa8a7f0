import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testMaster, type TestMaster } from '../../testing.js';

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
  const source = `builders: { b: { image: busybox, properties: { p: {} }, steps: [{ name: s, run: 'true' }] } }`;
  await master.call('PUT', '/api/v1/farm', { json: { source } });
});
afterAll(async () => master?.stop());

const post = (path: string, body: string, token?: null) =>
  master.call('POST', `/api/v1${path}`, {
    body,
    headers: { 'content-type': 'application/json' },
    ...(token === null ? { token } : {}),
  });

describe('hostile input', () => {
  // Each unknown key was compared with all known ones: two megabytes of them stopped the master for half a minute.
  it.each(['/session', '/workers/register'])(
    'is refused at %s before anybody has signed in, whatever its keys',
    async (path) => {
      const keys = Array.from({ length: 200 }, (_, i) => `"tokenx${i}":1`).join(',');
      const few = await post(path, `{${keys.slice(0, keys.lastIndexOf(','))}}`, null);
      const { problems, detail } = (await few.json()) as { problems: object[]; detail: string };
      expect(problems).toHaveLength(20);
      expect(detail).toContain('more');
      // Nobody who has not signed in has more to say.
      expect((await post(path, `{${`${keys},`.repeat(4)}"x":1}`, null)).status).toBe(413);
    },
  );

  it('is refused when it is nested without end', async () => {
    const deep = `${'['.repeat(400_000)}${']'.repeat(400_000)}`;
    expect((await post('/session', `{"token":${deep}}`, null)).status).toBe(413);
    const wish = `{"builder":"b","properties":{"p":${deep}}}`;
    expect((await post('/build-requests', wish)).status).toBe(400);
    const keys = Array.from({ length: 5001 }, (_, i) => `"k${i}":1`).join(',');
    const many = await post('/build-requests', `{${keys}}`);
    expect(many.status).toBe(400);
    expect(((await many.json()) as { detail: string }).detail).toContain('more than 5000 values');
  });

  it.each([
    ['/build-requests', '{"builder":"b","properties":{"p":"\\ud800"}}'],
    ['/build-requests', '{"builder":"b","reason":"\\ud800"}'],
    ['/builds/1/cancel', '{"reason":"\\udfff"}'],
    ['/build-requests', '{"builder":"b","properties":{"\\ud800":"x"}}'],
  ])('is refused at %s when it cannot be stored: %s', async (path, body) => {
    expect((await post(path, body)).status).toBe(400);
  });

  it.each([
    ['/workers?after=%00', 400],
    ['/tokens?after=%00', 400],
    ['/audit?after=99999999999999999999', 400],
    ['/builds?builder=b&after=999999999999999', 400],
    ['/builders?after=999999999999999', 400],
    ['/builders/b/builds/999999999999999', 404],
    ['/registration-tokens?after=9999-99-99T99:99:99.999Z~aaaaaaaaaaaa', 400],
  ])('is answered as what it is: GET %s with %i', async (path, status) => {
    expect((await master.call('GET', `/api/v1${path}`)).status).toBe(status);
  });

  it('names no token that there cannot be', async () => {
    expect((await master.call('DELETE', '/api/v1/tokens/%00')).status).toBe(404);
  });

  it.each(['\\0', '\\ud800'])('is a problem of the farm file: "%s"', async (escape) => {
    const source = `builders: { b: { image: x, description: "${escape}", steps: [{ name: s, run: x }] } }`;
    expect((await master.call('PUT', '/api/v1/farm', { json: { source } })).status).toBe(422);
  });
});
