import { describe, expect, it } from '@jest/globals';
import { allowedOrigin } from './origin.js';
import { bearer, hashSecret, mintToken, parseToken, secretMatches } from './secrets.js';

describe('tokens', () => {
  it('are read back, also when the secret has underscores and dashes', () => {
    for (let n = 0; n < 200; n++) {
      const { id, token, hash } = mintToken('igt');
      const parsed = parseToken('igt', token);
      expect(parsed?.id).toBe(id);
      expect(secretMatches(parsed?.secret ?? '', hash)).toBe(true);
    }
    const id = 'f'.repeat(32);
    expect(parseToken('igw', mintToken('igw', id).token)?.id).toBe(id);
  });

  it('of another kind or shape are none', () => {
    const { token } = mintToken('igt');
    for (const text of [undefined, '', 'igt', token.slice(1), `${token}x`, `${token}\n`, 'igt__'])
      expect(parseToken('igt', text)).toBeUndefined();
    expect(parseToken('igw', token)).toBeUndefined();
  });

  it('match their own secret alone', () => {
    const { hash } = mintToken('igt');
    expect(secretMatches('', hash)).toBe(false);
    expect(secretMatches('a'.repeat(43), hash)).toBe(false);
    expect(secretMatches('x', hashSecret('x').subarray(1))).toBe(false);
  });

  it('stand in a bearer header', () => {
    expect(bearer('Bearer abc')).toBe('abc');
    expect(bearer('bearer  abc ')).toBe('abc');
    for (const header of [undefined, '', 'abc', 'Basic abc', 'Bearer', 'Bearer a b'])
      expect(bearer(header)).toBeUndefined();
  });
});

const allowed = (headers: Record<string, string>) => allowedOrigin(headers, 'https://farm.example');

describe('allowedOrigin', () => {
  it('is the public address, or where the request was sent to', () => {
    expect(allowed({ origin: 'https://farm.example', host: '10.0.0.1:8010' })).toBe(true);
    expect(allowed({ origin: 'http://10.0.0.1:8010', host: '10.0.0.1:8010' })).toBe(true);
    expect(allowed({ origin: 'https://evil.example', host: '10.0.0.1:8010' })).toBe(false);
    expect(allowed({ origin: 'http://10.0.0.1:9999', host: '10.0.0.1:8010' })).toBe(false);
    expect(allowed({ origin: 'null', host: '10.0.0.1:8010' })).toBe(false);
  });

  it('may be left out by a plain read of the same site', () => {
    expect(allowed({ host: 'farm.example' })).toBe(true);
    expect(allowed({ host: 'farm.example', 'sec-fetch-site': 'same-origin' })).toBe(true);
    expect(allowed({ host: 'farm.example', 'sec-fetch-site': 'cross-site' })).toBe(false);
  });
});
