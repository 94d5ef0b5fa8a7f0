import { describe, expect, it } from '@jest/globals';
import { cutCredentials, hasCredentials, withoutCredentials } from './credentials.js';

const SECRET = 's3cr3t';

describe('credentials in addresses', () => {
  it.each([
    [`https://${SECRET}@host/x.git`, 'https://host/x.git'],
    [`https://me:${SECRET}@host/x.git`, 'https://host/x.git'],
    [`https://:${SECRET}@host/x.git`, 'https://host/x.git'],
    [`https://${SECRET}:@host/x.git`, 'https://host/x.git'],
    [`https://x-access-token:${SECRET}@host:8443/x`, 'https://host:8443/x'],
    [`HTTPS://${SECRET}@host/x`, 'HTTPS://host/x'],
    [`hTtP://${SECRET}@host`, 'hTtP://host'],
    [`https://a@b:${SECRET}@host/x`, 'https://host/x'],
    [`https://a%40b:${SECRET}@host/x`, 'https://host/x'],
    [`https://${SECRET}%40host/x`, 'https://host/x'],
    [`https%3A%2F%2Fme%3A${SECRET}%40host%2Fx`, 'https%3A%2F%2Fhost%2Fx'],
    [`https://h/login?to=https%3a%2f%2f${SECRET}%40host`, 'https://h/login?to=https%3a%2f%2fhost'],
    [`https:${SECRET}:pw@host/x`, 'https:host/x'],
    [`https:/${SECRET}@host/x`, 'https:/host/x'],
    [`https:\\\\${SECRET}@host/x`, 'https:\\\\host/x'],
    [`https:////${SECRET}@host/x`, 'https:////host/x'],
    [`git+https://${SECRET}@host/x`, 'git+https://host/x'],
    [`svn+http://${SECRET}@host/x`, 'svn+http://host/x'],
    [`git://${SECRET}@host/x`, 'git://host/x'],
    [`ftp://u:${SECRET}@host/x`, 'ftp://host/x'],
    [`https://${SECRET}@[::1]:8080/x`, 'https://[::1]:8080/x'],
    [`https://u:${SECRET}@[fe80::1%25eth0]/x`, 'https://[fe80::1%25eth0]/x'],
    [`https://u:pa/${SECRET}@host/x`, 'https://host/x'],
    [`ssh://git:${SECRET}@host/x`, 'ssh://git@host/x'],
    [`ssh://:${SECRET}@host/x`, 'ssh://host/x'],
    [`git+ssh://git:${SECRET}@host/x`, 'git+ssh://git@host/x'],
    [`git:${SECRET}@host:team/x`, 'git@host:team/x'],
    [`https://host/x?private_token=${SECRET}`, 'https://host/x?private_token=***'],
    [`https://host/x?a=1&access_token=${SECRET}&b=2`, 'https://host/x?a=1&access_token=***&b=2'],
    [`https://host/x#id_token=${SECRET}`, 'https://host/x#id_token=***'],
    [`https://host/x?X-Amz-Signature=${SECRET}`, 'https://host/x?X-Amz-Signature=***'],
    [`https://host/x?sig=${SECRET}&key=${SECRET}`, 'https://host/x?sig=***&key=***'],
    [`https://host/x%3Ftoken%3D${SECRET}%26b`, 'https://host/x%3Ftoken%3D***%26b'],
    ['https://@host/x', 'https://host/x'],
  ])('are found in %s', (address, cut) => {
    expect(withoutCredentials(address)).toBe(cut);
    expect(withoutCredentials(cut)).not.toContain(SECRET);
    expect(hasCredentials(address)).toBe(true);
  });

  it.each([
    'https://host/x.git',
    'https://host:8443/team/@scope/x.git',
    'https://host/x?ref=a@b',
    'ssh://git@host/x',
    'ssh://git@[::1]:22/x',
    'git+ssh://me@host/x',
    'git@host:team/x.git',
    'git@host:x@2.git',
    '/srv/a@b/x.git',
    'file:///srv/x@y.git',
    'git://host/x',
    'https://host/monkey=1',
    'https://host/x?tokens=1',
  ])('are not seen where there are none: %s', (address) => {
    expect(withoutCredentials(address)).toBe(address);
    expect(hasCredentials(address)).toBe(false);
  });

  it('are cut wherever they stand in a text, which stays as it is otherwise', () => {
    expect(
      cutCredentials(
        `fatal: unable to access 'https://me:${SECRET}@host/x.git/': 403\nwarning: redirecting to http://${SECRET}@other/`,
      ),
    ).toBe(
      "fatal: unable to access 'https://host/x.git/': 403\nwarning: redirecting to http://other/",
    );
    const plain = 'busybox:1.37@sha256:ab, me@example.org: a=b; http: x@y (https://h/) "k"=@';
    expect(cutCredentials(plain)).toBe(plain);
  });

  it('are looked for in a time that grows with the text only', () => {
    const hostile = ['http:', 'a://', '?a_', 'https://a:', '%3a', 'http://x:y/'];
    for (const part of hostile) cutCredentials(`${part.repeat(40_000)}@=`);
  });
});
