import { posix } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { artifactPathProblem, foldedPath } from './path.js';

describe('artifactPathProblem', () => {
  it.each(['a', 'dist/app', '.hidden/..x/x..', 'a b/ü/日本', '...', 'C:/x', 'a'.repeat(1024)])(
    'takes %j',
    (path) => {
      expect(artifactPathProblem(path)).toBeUndefined();
    },
  );

  it.each([
    ['', 'empty'],
    ['..', '..'],
    ['../etc/passwd', '..'],
    ['a/../../b', '..'],
    ['./a', ' . '],
    ['/etc/passwd', 'absolute'],
    ['a\\..\\b', 'backslash'],
    ['a\0b', 'control'],
    ['a\nb', 'control'],
    ['a//b', 'empty part'],
    ['a/', 'empty part'],
    ['\ud800', 'well-formed'],
    ['ü'.repeat(513), '1024'],
  ])('refuses %j', (path, why) => {
    expect(artifactPathProblem(path)).toContain(why);
  });

  it('lets nothing out of the folder it is put below', () => {
    const part = fc.oneof(fc.constantFrom('..', '.', '', '/', '\\', 'a'), fc.string());
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), (parts) => {
        const path = parts.join('/');
        if (artifactPathProblem(path) === undefined)
          expect(posix.join('/below', path)).toBe(`/below/${path}`);
      }),
    );
  });
});

describe('foldedPath', () => {
  it('is one for what a file system may take for one', () => {
    expect(foldedPath('Dist/Ä')).toBe(foldedPath('dist/a\u0308'));
    expect(foldedPath('a')).not.toBe(foldedPath('b'));
  });
});
