import { describe, expect, it } from '@jest/globals';
import { jsonExcess } from './json-bounds.js';

const BOUNDS = { depth: 3, values: 10 };

describe('jsonExcess', () => {
  it.each([1, 'x', null, {}, { a: [{ b: 1 }] }, [1, 2, 3]])('takes %j', (value) => {
    expect(jsonExcess(value, BOUNDS)).toBeUndefined();
  });

  it('says when a value is too deep', () => {
    expect(jsonExcess({ a: [{ b: {} }] }, BOUNDS)).toBe('values are nested deeper than 3');
  });

  it('counts over all levels', () => {
    expect(
      jsonExcess(
        [
          [1, 2, 3, 4, 5],
          [1, 2, 3, 4],
        ],
        BOUNDS,
      ),
    ).toBe('there are more than 10 values');
  });

  it('does not end the stack on a text of brackets', () => {
    const deep: unknown = JSON.parse('['.repeat(500_000) + ']'.repeat(500_000));
    expect(jsonExcess(deep, BOUNDS)).toBe('values are nested deeper than 3');
  });
});
