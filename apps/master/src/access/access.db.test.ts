import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { AuditEntry, Page, Problem, Session, Token } from '@impgem/client';
import { eventually } from '@impgem/testkit';
import { lockWaits } from '../scheduling/testing.js';
import { testMaster, type CallOptions, type TestMaster } from '../testing.js';

let master: TestMaster;

beforeAll(async () => {
  master = await testMaster();
});
afterAll(() => master.stop());

async function problem(
  method: string,
  path: string,
  options?: CallOptions,
): Promise<Pick<Problem, 'status' | 'code'> & { detail: string }> {
  const answer = await master.call(method, path, options);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  const body = (await answer.json()) as Problem;
  expect(body.status).toBe(answer.status);
  return { status: body.status, code: body.code, detail: body.detail };
}

describe('API tokens', () => {
  it('are asked for: none, a wrong one and half a one are refused', async () => {
    expect(await problem('GET', '/api/v1/tokens', { token: null })).toMatchObject({
      status: 401,
      code: 'unauthenticated',
    });
    const wrong = `${master.token.slice(0, -4)}AAAA`;
    expect(await problem('GET', '/api/v1/tokens', { token: wrong })).toMatchObject({
      code: 'unauthenticated',
    });
    expect(await problem('GET', '/api/v1/tokens', { token: 'igt_x' })).toMatchObject({
      code: 'unauthenticated',
    });
    const answer = await master.call('GET', '/api/v1/tokens', { token: null });
    expect(answer.headers.get('www-authenticate')).toContain('Bearer');
  });

  it('are shown once with their secret, and listed without', async () => {
    const made = await master.newToken(['read']);
    expect(made.token).toMatch(/^igt_[a-z0-9]{12}_.{43}$/);
    const list = await (await master.call('GET', '/api/v1/tokens')).text();
    expect(list).toContain(made.name);
    expect(list).not.toContain(made.token);
  });

  it('of the wrong scope are refused, and higher ones imply lower ones', async () => {
    const { token: read } = await master.newToken(['read']);
    expect(await problem('GET', '/api/v1/tokens', { token: read })).toMatchObject({
      status: 403,
      code: 'forbidden',
      detail: expect.stringContaining('admin'),
    });
    expect((await master.call('GET', '/api/v1/session', { token: read })).status).toBe(200);
    expect((await master.call('GET', '/api/v1/session')).status).toBe(200);
  });

  it('end when they expire or are revoked, and say so only to who has the secret', async () => {
    const expired = await master.newToken(['admin'], 3600);
    await master.database.query(
      `UPDATE api_tokens SET expires_at = now() - interval '1 s' WHERE id = $1`,
      [expired.id],
    );
    expect(await problem('GET', '/api/v1/tokens', { token: expired.token })).toMatchObject({
      status: 401,
      code: 'token-expired',
    });
    const revoked = await master.newToken(['admin']);
    // It is known by now.
    expect((await master.call('GET', '/api/v1/tokens', { token: revoked.token })).status).toBe(200);
    expect((await master.call('DELETE', `/api/v1/tokens/${revoked.id}`)).status).toBe(204);
    expect(await problem('GET', '/api/v1/tokens', { token: revoked.token })).toMatchObject({
      status: 401,
      code: 'token-revoked',
    });
    const guessed = `${revoked.token.slice(0, -4)}AAAA`;
    expect(await problem('GET', '/api/v1/tokens', { token: guessed })).toMatchObject({
      code: 'unauthenticated',
    });
  });

  it('have names of their own until they are revoked', async () => {
    const { name, id } = await master.newToken(['read']);
    const json = { name, scopes: ['read'] };
    expect(await problem('POST', '/api/v1/tokens', { json })).toMatchObject({ code: 'name-taken' });
    await master.call('DELETE', `/api/v1/tokens/${id}`);
    expect((await master.call('POST', '/api/v1/tokens', { json })).status).toBe(201);
    expect(await problem('DELETE', '/api/v1/tokens/nothing')).toMatchObject({ code: 'not-found' });
  });

  it('leave a trail', async () => {
    const { id, name } = await master.newToken(['trigger']);
    await master.call('DELETE', `/api/v1/tokens/${id}`);
    const answer = await master.call('GET', '/api/v1/audit?limit=2');
    const { items, next } = (await answer.json()) as Page<AuditEntry>;
    expect(items).toMatchObject([
      { actor: 'token:first-admin', action: 'token.revoke', target: name },
      { actor: 'token:first-admin', action: 'token.create', target: name },
    ]);
    expect(next).toBe(String(items[1]?.id));
    expect(await problem('GET', '/api/v1/audit?after=x')).toMatchObject({
      code: 'invalid-request',
    });
  });

  it('come in pages that neither leave out nor repeat', async () => {
    const seen: string[] = [];
    let next: string | null = '';
    while (next !== null) {
      const query: string = next === '' ? '' : `&after=${next}`;
      const answer = await master.call('GET', `/api/v1/tokens?limit=3${query}`);
      const page = (await answer.json()) as Page<Token>;
      expect(page.items.length).toBeLessThanOrEqual(3);
      seen.push(...page.items.map(({ id }) => id));
      next = page.next;
    }
    const [{ n } = { n: 0 }] = await master.database.query<{ n: number }>(
      'SELECT count(*) n FROM api_tokens',
    );
    expect(new Set(seen).size).toBe(n);
    expect(seen.length).toBe(n);
  });
});

async function signIn(token = master.token) {
  const answer = await master.call('POST', '/api/v1/session', {
    token: null,
    json: { token },
    headers: { origin: master.url },
  });
  expect(answer.status).toBe(201);
  const cookie = answer.headers.get('set-cookie') ?? '';
  return { session: (await answer.json()) as Session, cookie, value: cookie.split(';')[0] ?? '' };
}

describe('the page’s session', () => {
  it('is a cookie that scripts and other sites do not get', async () => {
    const { session, cookie } = await signIn();
    expect(cookie).toMatch(/^impgem_session=[\w-]{43};/);
    expect(cookie).toContain('HttpOnly');
    expect(cookie).toContain('SameSite=Strict');
    expect(session).toMatchObject({ actor: 'token:first-admin', csrf: expect.any(String) });
  });

  it('reads with the cookie alone, and changes only with the CSRF token', async () => {
    const { session, value } = await signIn();
    const headers = { cookie: value, origin: master.url };
    expect((await master.call('GET', '/api/v1/tokens', { token: null, headers })).status).toBe(200);
    const json = { name: 'by-page', scopes: ['read'] };
    expect(await problem('POST', '/api/v1/tokens', { token: null, headers, json })).toMatchObject({
      status: 403,
      code: 'csrf',
    });
    const withToken = { ...headers, 'x-csrf-token': session.csrf };
    const answer = await master.call('POST', '/api/v1/tokens', {
      token: null,
      headers: withToken,
      json,
    });
    expect(answer.status).toBe(201);
  });

  it('serves no page of another origin', async () => {
    const { value } = await signIn();
    const headers = { cookie: value, origin: 'https://evil.example' };
    expect(await problem('GET', '/api/v1/tokens', { token: null, headers })).toMatchObject({
      status: 403,
      code: 'origin',
    });
    expect(
      await problem('POST', '/api/v1/session', {
        token: null,
        json: { token: master.token },
        headers: { origin: 'https://evil.example' },
      }),
    ).toMatchObject({ code: 'origin' });
  });

  it('ends with its token, by signing out, and by time', async () => {
    const made = await master.newToken(['admin']);
    const first = await signIn(made.token);
    await master.call('DELETE', `/api/v1/tokens/${made.id}`);
    const bare = { token: null, headers: { cookie: first.value } };
    expect(await problem('GET', '/api/v1/session', bare)).toMatchObject({ status: 401 });

    const second = await signIn();
    const headers = { cookie: second.value, 'x-csrf-token': second.session.csrf };
    const answer = await master.call('DELETE', '/api/v1/session', { token: null, headers });
    expect(answer.status).toBe(204);
    expect(await problem('GET', '/api/v1/session', { token: null, headers })).toMatchObject({
      status: 401,
    });

    const third = await signIn();
    await master.database.query(`UPDATE sessions SET expires_at = now() - interval '1 s'`);
    const late = { token: null, headers: { cookie: third.value } };
    expect(await problem('GET', '/api/v1/session', late)).toMatchObject({ status: 401 });
  });
});

describe('signing in', () => {
  it('slows down who tries tokens', async () => {
    const slow = await testMaster({
      limits: { ...master.config.limits, signInFailuresPerMinute: 2 },
    });
    try {
      const attempt = async () => {
        const json = { token: 'igt_no' };
        const answer = await slow.call('POST', '/api/v1/session', { token: null, json });
        return ((await answer.json()) as Problem).code;
      };
      expect(await attempt()).toBe('unauthenticated');
      expect(await attempt()).toBe('unauthenticated');
      expect(await attempt()).toBe('too-many-requests');
    } finally {
      await slow.stop();
    }
  });
});

describe('those who read', () => {
  it('wait for themselves, and not for a caller who asks for much', async () => {
    const limits = { ...master.config.limits, readsAtOnce: 2, readsAtOncePerCaller: 1 };
    const farm = await testMaster({ limits });
    const { token } = await farm.newToken(['read']);
    const locks = () => lockWaits(farm.database);
    const many = Array.from({ length: 20 }, () => '/api/v1/events');
    let answers: Promise<Response[]> | undefined;
    try {
      await farm.database.transaction(async (tx) => {
        await tx.query('LOCK TABLE events IN ACCESS EXCLUSIVE MODE');
        answers = Promise.all(many.map((path) => farm.call('GET', path, { token })));
        await eventually(async () => (await locks()) === 1, { what: 'one of them to wait' });
        for (let n = 0; n < 3; n++)
          expect((await farm.call('GET', '/api/v1/workers')).status).toBe(200);
        // What changes something waits for nobody who reads.
        expect(await farm.newToken(['read'])).toMatchObject({ name: 'test-2' });
        expect(await locks()).toBe(1);
      });
      const statuses = (await answers)?.map(({ status }) => status);
      expect(statuses).toEqual(many.map(() => 200));
    } finally {
      await farm.stop();
    }
  });
});
