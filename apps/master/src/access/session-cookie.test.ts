import fastifyCookie from '@fastify/cookie';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { fastify } from 'fastify';
import { sessionCookieName, sessionCookieOf } from './session-cookie.js';

// The plugin has its parser once it is registered.
beforeAll(async () => void (await fastify().register(fastifyCookie)));

describe('the cookie of the session', () => {
  it('has over https a name that no sibling host can set, and its name of before is still read', () => {
    const [own, plain] = [sessionCookieName(true), sessionCookieName(false)];
    expect([own, plain]).toEqual(['__Host-impgem_session', 'impgem_session']);
    expect(sessionCookieOf(`${plain}=theirs; ${own}=mine`)).toBe('mine');
    expect(sessionCookieOf(`${plain}=before`)).toBe('before');
    expect(sessionCookieOf('other=x')).toBeUndefined();
    expect(sessionCookieOf(undefined)).toBeUndefined();
  });
});
