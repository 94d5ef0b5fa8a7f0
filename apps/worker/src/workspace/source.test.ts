import { describe, expect, it } from '@jest/globals';
import { checkRef, transportOf } from './source.js';

describe('the address of a repository', () => {
  it.each([
    ['https://host/x.git', 'https'],
    ['ssh://git@host/x', 'ssh'],
    ['git@host:team/x.git', 'ssh'],
    ['git://host/x', 'git'],
    ['/srv/x.git', 'file'],
    ['/srv/my repositories/x.git', 'file'],
    ['file:///srv/x.git', 'file'],
  ])('%s is reached by %s', (address, transport) => {
    expect(transportOf(address, true)).toBe(transport);
  });

  it.each([
    '-uevil',
    '--upload-pack=x',
    'ext::sh -c x',
    'ext::x',
    'ftp://h/x',
    'x y',
    'rel/path',
    'https:host/x',
    'HTTP:me@host/x',
    '',
  ])('refuses %j', (address) => {
    expect(() => transportOf(address, true)).toThrow(/git address/);
  });

  it("refuses the worker's own disk unless allowed", () => {
    expect(() => transportOf('/srv/x', false)).toThrow(/IMPGEM_ALLOW_LOCAL_SOURCES/);
  });

  it('is shown without its credentials when it is refused', () => {
    expect(() => transportOf('ftp://me:secret@host/x', true)).toThrow(/"ftp:\/\/host\/x"/);
  });
});

describe('a ref', () => {
  it.each(['main', 'feature/x-1', 'v1.0', 'refs/pull/1/head', 'a'.repeat(40)])(
    'may be %s',
    (ref) => {
      expect(() => checkRef(ref)).not.toThrow();
    },
  );
  it.each(['', '-x', '--all', 'a..b', 'a b', 'a^', 'a:b', 'x@{1}', 'a//b', '.x', 'x.lock'])(
    'may not be %j',
    (ref) => {
      expect(() => checkRef(ref)).toThrow(/is no name/);
    },
  );
});
