import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import picomatch from 'picomatch';
import { Glob } from './glob.js';

/** As the worker matched before, and as lint reads the glob. */
function byPicomatch(glob: string, path: string): boolean {
  const clean = glob.replace(/^(?:\.\/)+/, '').replace(/\/+$/, '');
  const options = { dot: true, nonegate: true, flags: 's' };
  return picomatch(clean, options)(path) || picomatch(`${clean}/**`, options)(path);
}

const part = fc
  .string({ unit: fc.constantFrom('a', 'b', '.', '-'), minLength: 1, maxLength: 4 })
  .filter((text) => text !== '.' && text !== '..');
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const simple = fc.constantFrom('a', 'b', '.', '-', '*', '?', '[ab]', '[^a]', '[a-b]', '\\*', '\\[');
const braced = fc
  .array(fc.string({ unit: fc.constantFrom('a', 'b', '*', 'a/b'), minLength: 1, maxLength: 3 }), {
    minLength: 2,
    maxLength: 3,
  })
  .map((some) => `{${some.join(',')}}`);
const piece = fc.oneof(
  fc.constant('**'),
  fc.array(fc.oneof({ weight: 4, arbitrary: simple }, braced), { minLength: 1, maxLength: 4 }),
);
const glob = fc
  .array(piece, { minLength: 1, maxLength: 4 })
  .map((parts) => parts.map((one) => (typeof one === 'string' ? one : one.join(''))).join('/'))
  .filter((text) => !/\.\.|\*\*\*|[^/]\*\*|\*\*[^/]|(?:^|\/)\.{1,2}(?:\/|$)/.test(text));

describe('a glob', () => {
  it('matches what picomatch says', () => {
    fc.assert(
      fc.property(glob, fc.array(path, { minLength: 5, maxLength: 10 }), (pattern, paths) => {
        const ours = new Glob(pattern);
        for (const one of paths)
          expect([pattern, one, ours.matches(one)]).toEqual([
            pattern,
            one,
            byPicomatch(pattern, one),
          ]);
      }),
      { numRuns: 150 },
    );
  });

  it.each([
    ['out/', 'out/a/b', true],
    ['./out', 'out', true],
    ['*', 'a\nb', true],
    ['**', 'a\n/b', true],
    ['?', '👩', true],
    ['[id].js', '[id].js', true],
    ['[id].js', 'i.js', true],
    ['[!a]', 'a', false],
    ['[]]', ']', true],
    ['[', '[', true],
    ['{a', '{a', true],
    ['{a}', '{a}', true],
    ['{1..3}.log', '2.log', true],
    ['{src,lib/{a,b}}/*.c', 'lib/b/x.c', true],
    ['(a|b)', 'b', true],
    ['(app)/page', '(app)/page', true],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['x/**/y', 'x/y', true],
    ['*/**', 'a', false],
    ['', 'a', false],
  ])('%j reads %j as it is documented', (pattern, name, matches) => {
    expect(new Glob(pattern).matches(name)).toBe(matches);
  });

  it('tells what is a path, and what may lie below a folder', () => {
    expect(new Glob('./a\\*/b/').literal).toBe('a*/b');
    expect(new Glob('a?').literal).toBeUndefined();
    expect(new Glob('out/*.txt').reaches('out')).toBe(true);
    expect(new Glob('out/*.txt').reaches('private')).toBe(false);
    expect(new Glob('**/*.txt').reaches('private')).toBe(true);
    expect(new Glob('out').reaches('out/deep')).toBe(true);
  });

  // With expressions that go back, each of these is not done when the sun goes out.
  it.each([
    ['**/build/**/*.log', `${'build/'.repeat(680)}x`],
    ['**/a/**/a/**/a/**/a/**/a/**/b', `${'a/'.repeat(2000)}c`],
    [`${'*a'.repeat(10)}b`, 'a'.repeat(255)],
    [`${'{*a,*'.repeat(20)}${'}'.repeat(20)}b`, 'a'.repeat(4000)],
    ['(*a|*)'.repeat(40), `${'a'.repeat(255)}\n`],
    ['{'.repeat(512), '{'.repeat(4000)],
    ['['.repeat(512), '['.repeat(4000)],
    [`${'('.repeat(250)}a|b${')'.repeat(250)}`, 'x'.repeat(4000)],
  ])('is done with the worst names for %j', (pattern, name) => {
    const ours = new Glob(pattern);
    for (let n = 0; n < 3; n++) expect(typeof ours.matches(name)).toBe('boolean');
  });
});
