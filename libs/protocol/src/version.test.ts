import { describe, expect, it } from '@jest/globals';
import { chooseSubprotocol, subprotocol, versionAdvice } from './version.js';

const own = { major: 1, minor: 3 };
const name = (major: number, minor: number) => subprotocol({ major, minor });

describe('version', () => {
  it.each([
    [1, 3, true],
    [1, 2, true],
    [1, 1, false],
    [1, 4, false],
    [2, 3, false],
    [0, 3, false],
  ])('%i.%i against 1.3: %s', (major, minor, fits) => {
    const offered = ['chat', name(major, minor)];
    expect(chooseSubprotocol(offered, own)).toBe(fits ? name(major, minor) : undefined);
  });

  it('says which end is to be upgraded', () => {
    expect(versionAdvice([name(1, 1)], own)).toContain('upgrade the worker');
    expect(versionAdvice([name(1, 4)], own)).toContain('upgrade the master');
    expect(versionAdvice(['chat'], own)).toContain('offered none');
  });
});
