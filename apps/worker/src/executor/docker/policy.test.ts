import { describe, expect, it } from '@jest/globals';
import { checkImage, loosened, parsePolicy } from './policy.js';

describe('the policy file', () => {
  it('is safe when empty', () => {
    const policy = parsePolicy('', 'p.yml');
    expect(policy).toMatchObject({ network: 'bridge', mounts: [], capabilities: [] });
    expect(loosened(policy)).toBe(false);
    expect(() => checkImage(policy, 'anything')).not.toThrow();
  });

  it.each([
    ['imges: [a]', /p\.yml.*imges: no such key; there are images/],
    ['network: host', /network/],
    ['mounts: ["relative:/x"]', /mounts/],
    ['memory: lots', /memory/],
    ['- a', /no mapping/],
    ['images: [', /p\.yml/],
  ])('refuses %j by name', (text, message) => {
    expect(() => parsePolicy(text, 'p.yml')).toThrow(message);
  });

  it('lets only listed images through', () => {
    const policy = parsePolicy('images: ["debian:*", "registry.local/team/*"]', 'p.yml');
    expect(() => checkImage(policy, 'debian:bookworm')).not.toThrow();
    expect(() => checkImage(policy, 'registry.local/team/a/b:1')).not.toThrow();
    expect(() => checkImage(policy, 'evil/debian:1')).toThrow(/not allowed on this worker/);
  });
});
