import { describe, expect, it } from '@jest/globals';
import { FarmError } from '@impgem/kit';
import { readConfig, withConfig } from '../platform/index.js';
import { mintToken } from './secrets.js';
import { TokenThrottle } from './token-throttle.js';
import { WindowCounter } from './window-counter.js';

const config = readConfig({});
const limits = { ...config.limits, signInFailuresPerMinute: 2, signInsPerMinute: 3 };
const newThrottle = () => new TokenThrottle(withConfig(config, { limits }));
const wrong = () => Promise.reject(new FarmError('unauthenticated', 'no'));
const right = () => Promise.resolve('in');
const away = () => Promise.reject(new FarmError('database-unavailable', 'away'));
const token = () => mintToken('igt').token;

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'in',
    (error: FarmError) => error.code,
  );
}

describe('the throttle of tokens', () => {
  it('counts before it looks: tries that come at once are not all let by', async () => {
    const throttle = newThrottle();
    const tries = Array.from({ length: 5 }, () => throttle.signIn('10.0.0.1', token(), wrong));
    const codes = await Promise.all(tries.map(codeOf));
    expect(codes).toEqual([
      'unauthenticated',
      'unauthenticated',
      ...Array.from({ length: 3 }, () => 'too-many-requests'),
    ]);
  });

  it('never refuses a right token for the wrong ones of others', async () => {
    const throttle = newThrottle();
    const own = token();
    const guesses = [own, own, own, ...Array.from({ length: 20 }, token)];
    for (const guess of guesses) await codeOf(throttle.signIn('10.0.0.1', guess, wrong));
    expect(await codeOf(throttle.signIn('10.0.0.1', own, right))).toBe('in');
    expect(await codeOf(throttle.signIn('10.0.0.1', own, wrong))).toBe('too-many-requests');
  });

  it.each([
    [
      'the 64 bits of an IPv6 network',
      '2001:db8:1:2::1',
      '2001:db8:1:2:ffff::9',
      '2001:db8:1:3::1',
    ],
    ['an address of IPv4, mapped or not', '::ffff:10.0.0.1', '10.0.0.1', '10.0.0.2'],
  ])('counts %s as one', async (_, one, same, other) => {
    const throttle = newThrottle();
    for (let n = 0; n < 2; n++) await codeOf(throttle.signIn(one, token(), wrong));
    expect(await codeOf(throttle.signIn(same, token(), wrong))).toBe('too-many-requests');
    expect(await codeOf(throttle.signIn(other, token(), wrong))).toBe('unauthenticated');
  });

  it('counts the tries at one token, wherever they come from', async () => {
    const throttle = newThrottle();
    const one = token();
    for (const n of [1, 2]) await codeOf(throttle.signIn(`10.0.0.${n}`, one, wrong));
    expect(await codeOf(throttle.signIn('10.0.0.3', one, wrong))).toBe('too-many-requests');
  });

  it('counts neither what the database did, nor who shows no token', async () => {
    const throttle = newThrottle();
    for (let n = 0; n < 5; n++) await codeOf(throttle.signIn('10.0.0.1', token(), away));
    expect(await codeOf(throttle.signIn('10.0.0.1', token(), wrong))).toBe('unauthenticated');
    const none = Array.from({ length: 500 }, () => codeOf(throttle.knock('a', undefined, wrong)));
    expect(new Set(await Promise.all(none))).toEqual(new Set(['unauthenticated']));
  });

  it('bounds how often one token signs in', async () => {
    const throttle = newThrottle();
    const one = token();
    const codes: string[] = [];
    for (let n = 0; n < 4; n++)
      codes.push(await codeOf(throttle.signIn(`10.0.0.${n}`, one, right)));
    expect(codes).toEqual(['in', 'in', 'in', 'too-many-requests']);
  });
});

describe('a counter', () => {
  it('begins anew after a minute, and remembers few keys', () => {
    let now = 0;
    const counter = new WindowCounter(() => now);
    expect([counter.add('a'), counter.add('a')]).toEqual([1, 2]);
    now = 59_999;
    expect([counter.add('a'), counter.secondsLeft('a')]).toEqual([3, 1]);
    now = 60_001;
    expect(counter.add('a')).toBe(1);
    for (let n = 0; n < 10_000; n++) counter.add(`other ${n}`);
    expect(counter.add('a')).toBe(1);
  });
});
