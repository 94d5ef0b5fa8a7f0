import { describe, expect, it } from '@jest/globals';
import { readConfig, withConfig } from '../platform/index.js';
import { Places } from './places.js';

function places(downloads: number, downloadsPerCaller: number): Places {
  const config = readConfig({});
  const limits = { ...config.limits, downloads, downloadsPerCaller };
  return new Places(withConfig(config, { limits }));
}

describe('places', () => {
  it('are bounded for one caller, who hears so, and others still have theirs', () => {
    const all = places(10, 2);
    const leave = all.take('downloads', 'a');
    all.take('downloads', 'a');
    expect(() => all.take('downloads', 'a')).toThrow(
      expect.objectContaining({
        code: 'too-many-requests',
        details: { limit: 'downloadsPerCaller' },
      }),
    );
    all.take('downloads', 'b');
    leave();
    // Given back once, however often that is said.
    leave();
    all.take('downloads', 'a');
    expect(() => all.take('downloads', 'a')).toThrow('may have 2');
  });

  it('are bounded for all, whoever asks', () => {
    const all = places(2, 2);
    all.take('downloads', 'a');
    const leave = all.take('downloads', 'b');
    const isFull = expect.objectContaining({
      code: 'overloaded',
      details: { limit: 'downloads' },
    });
    expect(() => all.take('downloads', 'c')).toThrow(isFull);
    expect(() => all.check('downloads')).toThrow(isFull);
    all.take('archives', 'c');
    leave();
    all.check('downloads');
  });
});
