import { request } from 'node:http';
import { once } from 'node:events';
import { gunzipSync } from 'node:zlib';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { everyMatch, type LogMatch, type LogSearchResult, type Problem } from '@impgem/client';
import type { StreamName } from '@impgem/protocol';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import { LIMITS } from '../platform/index.js';
import { type TestMaster, testMaster } from '../testing.js';
import { readRows } from './log-rows.js';
import { SearchThread, THREAD } from './search.js';

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

  it('says what each stream adds up to, once that is known', async () => {
    const done = await SeededBuild.begin(master.database);
    await done.log(['stdout', 'x']);
    await master.database.query(`UPDATE steps SET log_sha256 = $2 WHERE build_id = $1`, [
      done.id,
      { stdout: 'ab', stderr: 'cd' },
    ]);
    expect((await get({}, '', done.id)).answer.headers['x-log-sha256']).toBe(
      'stderr=cd, stdout=ab',
    );
    expect((await get({})).answer.headers['x-log-sha256']).toBeUndefined();
  });

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

it('reads no more of a log at once than a page has room for, as stored', async () => {
  const fat = await SeededBuild.begin(master.database);
  await fat.log(...Array.from({ length: 40 }, (): [StreamName, string] => ['stdout', 'x']));
  // As an earlier master took them from anybody: little that inflates, and much behind it.
  await master.database.query(
    `UPDATE log_chunks SET data = data || decode(repeat('00', 100000), 'hex') WHERE build_id = $1`,
    [fat.id],
  );
  const ref = { build: fat.id, step: 0 };
  const size = { chunks: 128, bytes: 1_000_000 };
  const [page] = await readRows(master.database, [{ ...ref, offset: 0 }], size);
  expect(page).toMatchObject({ more: true });
  expect(page?.chunks.length).toBeLessThan(12);
  await fat.finish();
});

describe('lines of a log', () => {
  const text = ['one\n', 'two ä', '\nthree\n\nfi', 've'];
  let short: SeededBuild;
  beforeAll(async () => {
    short = await SeededBuild.begin(master.database);
    await short.log(
      ...text.map((part, n): [StreamName, string] => [n % 2 ? 'stderr' : 'stdout', part]),
    );
  });
  const lines = async (query: string, id = short.id) => {
    const { answer, body } = await get({ 'accept-encoding': 'gzip' }, query, id);
    const { 'x-log-lines': which, 'x-log-offset': offset } = answer.headers;
    return [answer.statusCode, String(body), which, offset];
  };

  it.each([
    ['?lines=1-1', 'one\n', '1-1/5', '0'],
    ['?lines=2', 'two ä\n', '2-2/5', '4'],
    ['?lines=2-4', 'two ä\nthree\n\n', '2-4/5', '4'],
    ['?lines=4-99', '\nfive', '4-5/5', '17'],
    ['?lines=5-', 'five', '5-5/5', '18'],
    ['?tail=1', 'five', '5-5/5', '18'],
    ['?tail=3', 'three\n\nfive', '3-5/5', '11'],
    ['?tail=100', text.join(''), '1-5/5', '0'],
    ['?tail=0', '', '6-5/5', '22'],
  ])('%s are %j', async (query, expected, which, offset) => {
    expect(await lines(query)).toEqual([200, expected, which, offset]);
  });

  it('are those of a plain split, wherever chunks are cut', async () => {
    const split = whole.toString('latin1').split('\n');
    for (const n of [1, 2, 40, 41, 74, 75, 76]) {
      const { body } = await get({}, `?lines=${n}-${n + 1}`);
      expect(body.toString('latin1').replace(/\n$/, '')).toBe(split.slice(n - 1, n + 1).join('\n'));
    }
  });

  it.each([
    ['?lines=4-2', 400, 'inverted'],
    ['?lines=0-2', 400, 'counted from 1'],
    ['?lines=a-b', 400, 'counted from 1'],
    ['?lines=-3', 400, 'counted from 1'],
    ['?tail=-1', 400, 'tail'],
    ['?tail=many', 400, 'tail'],
    ['?lines=1-2&tail=3', 400, 'one of them'],
    ['?tail=3&stream=stdout', 400, 'stream'],
    ['?timestamps=yes', 400, 'timestamps'],
    ['?lines=6-7', 416, '5 lines'],
  ])('%s are refused with %d', async (query, status, about) => {
    const { answer, body } = await get({}, query, short.id);
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect([answer.statusCode, JSON.parse(String(body)).detail]).toEqual([
      status,
      expect.stringContaining(about),
    ]);
  });

  it('come with their times, each where it began', async () => {
    const { body } = await get({}, '?timestamps=true', short.id);
    const got = String(body).split('\n');
    expect(got.map((line) => line.slice(25))).toEqual(['one', 'two ä', 'three', '', 'five']);
    for (const line of got) expect(line).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /);
    const [, two] = await lines('?lines=2-3&timestamps=true');
    expect(
      String(two)
        .split('\n')
        .map((line) => line.slice(25)),
    ).toEqual(['two ä', 'three', '']);
  });
});

async function search(query: Record<string, string>, id = build.id) {
  const url = `/api/v1/builds/${id}/steps/0/log/search?${String(new URLSearchParams(query))}`;
  const answer = await master.call('GET', url);
  return { status: answer.status, body: (await answer.json()) as LogSearchResult & Problem };
}

describe('searching a log', () => {
  it('gives the lines, where they are, and where to go on', async () => {
    const { body: all } = await search({ q: ': xx' });
    expect(all.matches).toHaveLength(74);
    expect(all).toMatchObject({
      next: null,
      searched: whole.length,
      bytes: whole.length,
      complete: false,
    });
    const first = all.matches[0];
    expect(first).toMatchObject({ line: 2, stream: 'stderr', at: expect.stringContaining('T') });
    expect(first?.text.slice(first.start, first.end)).toBe(': xx');
    for (const { offset, length } of all.matches)
      expect(whole.toString('latin1', offset, offset + length)).toBe(': xx');

    const paged: LogMatch[] = [];
    let pages = 0;
    for await (const match of everyMatch(async (after) => {
      pages++;
      return (await search({ q: ': xx', limit: '30', ...(after ? { after } : {}) })).body;
    }))
      paged.push(match);
    expect([paged, pages]).toEqual([all.matches, 3]);
  });

  it('takes expressions, and one stream alone', async () => {
    const { body } = await search({ q: '^.*7[03]: X', regex: 'true', ignoreCase: 'true' });
    expect(body.matches.map(({ line }) => line)).toEqual([71, 74]);
    const { body: one } = await search({ q: ': x', stream: 'stderr' });
    expect(one.matches).toHaveLength(25);
    expect(new Set(one.matches.map(({ stream }) => stream))).toEqual(new Set(['stderr']));
    expect(one.next).toBeNull();
  });

  it.each([
    [{ q: 'a(b', regex: 'true' }, 400, 'q: Unterminated group at character 4'],
    [{ q: '[z-a]', regex: 'true' }, 400, 'Range out of order'],
    [{ q: '' }, 400, 'q'],
    [{ q: 'a\nb' }, 400, 'newline'],
    [{ q: 'a', after: '-3' }, 400, 'after'],
    [{ q: 'a', limit: '5000' }, 400, 'limit'],
    [{ q: 'a', after: '99999999' }, 416, 'bytes'],
  ] as [Record<string, string>, number, string][])(
    'is refused for %j',
    async (query, code, about) => {
      const { status, body } = await search(query);
      expect([status, body.detail]).toEqual([code, expect.stringContaining(about)]);
    },
  );

  it('ends an expression that would run for ever, and searches on for others', async () => {
    const evil = await SeededBuild.begin(master.database);
    await evil.log(['stdout', `fine\n${'a'.repeat(5000)}!\n`]);
    const [hostile, harmless] = await Promise.all([
      search({ q: '^(a+)+$', regex: 'true' }, evil.id),
      search({ q: ': xx', limit: '1' }),
    ]);
    expect(harmless.body.matches).toHaveLength(1);
    expect([hostile.status, hostile.body]).toMatchObject([
      422,
      { code: 'search-too-slow', detail: expect.stringContaining('line 2') },
    ]);
  });

  it('does not take a thread that is slow to begin for one that hangs', async () => {
    const slow = `
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500);
      await import('${String(THREAD)}');`;
    const query = { text: 'x', regex: false, ignoreCase: false, limit: 1 };
    const search = new SearchThread(query, new URL(`data:text/javascript,${encodeURI(slow)}`));
    try {
      search.send([], { from: 0, end: 0, last: true });
      expect(await search.answer()).toEqual({ matches: [], resume: 0 });
    } finally {
      await search.end();
    }
  });

  it('answers many of one caller at once, or says that they are too many', async () => {
    const answers = await Promise.all(
      Array.from({ length: 60 }, () => search({ q: 'nothing like it' })),
    );
    const count = (status: number) => answers.filter((answer) => answer.status === status).length;
    expect(answers.filter(({ status }) => status !== 200 && status !== 429)).toEqual([]);
    expect(count(200)).toBeGreaterThanOrEqual(LIMITS.searchesPerCaller);
    expect((await search({ q: ': xx' })).status).toBe(200);
  });
});
