import { describe, expect, it } from '@jest/globals';
import { outputBehind } from './output-behind.js';

describe('output that a worker has yet to send', () => {
  it('is told from a MiB on', () => {
    expect(outputBehind({ state: 'online', spooled: 1024 ** 2 })).toBe(1024 ** 2);
    expect(outputBehind({ state: 'lost', spooled: 5 * 1024 ** 2 })).toBe(5 * 1024 ** 2);
    expect(outputBehind({ state: 'online', spooled: 1024 ** 2 - 1 })).toBe(0);
    expect(outputBehind({ state: 'online', spooled: null })).toBe(0);
  });

  it.each(['offline', 'revoked'] as const)('is no matter of one that is %s', (state) => {
    expect(outputBehind({ state, spooled: 1024 ** 3 })).toBe(0);
  });
});
