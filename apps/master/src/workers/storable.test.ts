import { describe, expect, it } from '@jest/globals';
import { storable } from './storable.js';

describe('storable', () => {
  it('replaces what Postgres cannot store, at any depth, and nothing else', () => {
    const value = { a: 'x\0y', b: ['\uD800', '😀'], 'k\0': { c: 1, d: null, e: '\uDC00z' } };
    expect(storable(value)).toEqual({
      a: 'x\uFFFDy',
      b: ['\uFFFD', '😀'],
      'k\uFFFD': { c: 1, d: null, e: '\uFFFDz' },
    });
  });
});
