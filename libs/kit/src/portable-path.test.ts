import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import {
  foldedPath,
  mendedPath,
  PathNames,
  portablePathProblem,
  quotedPath,
  utf8Length,
} from './portable-path.js';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

const long = `${'a'.repeat(255)}/`.repeat(4);

describe('portablePathProblem', () => {
  it.each([
    'a',
    'dist/app',
    '.hidden/..x/x',
    'a b/ü/日本',
    'Foo::Bar.3pm',
    'console.log',
    'com10',
    'null/x',
    '👩\u200d💻/x',
    `${long.slice(0, -1)}`,
    `${'ü'.repeat(127)}/x`,
  ])('takes %j', (path) => {
    expect(portablePathProblem(path)).toBeUndefined();
  });

  it.each([
    ['', 'empty'],
    ['..', '..'],
    ['../etc/passwd', '..'],
    ['a/../../b', '..'],
    ['./a', ' . '],
    ['a/.', ' . '],
    ['/etc/passwd', 'absolute'],
    ['a\\..\\b', 'backslash'],
    ['a\0b', 'control'],
    ['a\nb', 'control'],
    ['a\u007fb', 'control'],
    ['a\u009b2Jb', 'control'],
    ['a\u2028b', 'control'],
    ['a//b', 'empty part'],
    ['a/', 'empty part'],
    ['\ud800', 'well-formed'],
    ['a\ufffdb', 'well-formed'],
    ['a\u202egpj.exe', 'not seen'],
    ['a\ufeff', 'not seen'],
    ['a/\u200d/b', 'not seen'],
    ['a/.\u200d./b', '..'],
    ['c:x', 'drive'],
    ['a/C:', 'drive'],
    ['CON', 'device'],
    ['out/aux.c', 'device'],
    ['Com¹.log', 'device'],
    ['nul /x', 'blank'],
    ['conin$', 'device'],
    ['a./b', 'dot or a blank'],
    ['a ', 'dot or a blank'],
    ['...', 'dot or a blank'],
    [`${long}b`, '1024 bytes'],
    ['ü'.repeat(513), '1024 bytes'],
    ['a'.repeat(256), '255 bytes'],
    ['ü'.repeat(128), '255 bytes'],
  ])('refuses %j', (path, why) => {
    expect(portablePathProblem(path)).toContain(why);
  });

  const part = fc.oneof(
    fc.constantFrom('..', '.', '', '/', '\\', 'a', 'c:', 'con', 'aux.', '\u202e', '\ud800', ' '),
    fc.string({ unit: character }),
    fc.string({ unit: character, minLength: 250, maxLength: 400 }),
  );
  const paths = fc.array(part, { minLength: 1 }).map((parts) => parts.join('/'));

  it('lets nothing out of the folder it is put below', () => {
    fc.assert(
      fc.property(paths, (path) => {
        if (portablePathProblem(path) === undefined)
          expect(path.split(/[/\\]/).filter((one) => ['', '.', '..'].includes(one))).toEqual([]);
      }),
    );
  });

  it('counts bytes as they are written', () => {
    fc.assert(
      fc.property(fc.string({ unit: character }), (text) => {
        expect(utf8Length(text)).toBe(encodeURIComponent(text).replace(/%../g, '%').length);
      }),
    );
  });

  it('takes every path that was mended, and mends no good one', () => {
    fc.assert(
      fc.property(paths, (path) => {
        expect(portablePathProblem(mendedPath(path))).toBeUndefined();
        if (portablePathProblem(path) === undefined) expect(mendedPath(path)).toBe(path);
      }),
    );
    expect(mendedPath('c:x')).toBe('c_x');
    expect(mendedPath('a/CON')).toBe('a/_CON');
    expect(mendedPath('a /b\u202ec')).toBe('a_/b_c');
  });
});

describe('foldedPath', () => {
  it.each([
    ['Dist/Ä', 'dist/a\u0308'],
    ['Straße', 'STRASSE'],
    ['\u212a', 'k'],
    ['.g\u200cit', '.GIT'],
  ])('takes %j and %j for one', (a, b) => {
    expect(foldedPath(a)).toBe(foldedPath(b));
  });

  it('keeps others apart', () => {
    expect(foldedPath('a')).not.toBe(foldedPath('b'));
  });
});

describe('PathNames', () => {
  it('takes each path once, whatever its case or composition, and again for the same number', () => {
    const names = new PathNames(10);
    expect(names.claim('README', 0)).toBeUndefined();
    expect(names.claim('README', 0)).toBeUndefined();
    expect(names.claim('readme', 1)).toContain('only in case');
    expect(names.claim('ä', 2)).toBeUndefined();
    expect(names.claim('a\u0308', 3)).toContain('composition');
    names.free('README');
    expect(names.claim('readme', 1)).toBeUndefined();
    expect(names.size).toBe(2);
  });

  it('takes no file that is a folder elsewhere, whichever comes first', () => {
    const names = new PathNames(10);
    names.claim('A', 0);
    expect(names.claim('a/b', 1)).toContain('folder');
    names.claim('x/y/z', 2);
    expect(names.claim('X/y', 3)).toContain('only in case');
    names.free('x/y/z');
    expect(names.claim('X/y', 3)).toBeUndefined();
  });

  it('has bounds for files and for their folders', () => {
    const names = new PathNames(2);
    expect(names.claim(`${'a/'.repeat(9)}b`, 0)).toContain('more than 8 folders');
    names.claim('a', 0);
    names.claim('b', 1);
    expect(names.claim('c', 2)).toBe('there are 2 already');
  });
});

describe('quotedPath', () => {
  it('is short, and holds nothing that a terminal obeys', () => {
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 2000 }), (path) => {
        const quoted = quotedPath(path);
        expect(quoted.length).toBeLessThanOrEqual(6 * 200);
        // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
        expect(quoted).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]|\p{Surrogate}/u);
      }),
    );
    expect(quotedPath('a\u009b"b\nc')).toBe('"a\\u009b\\"b\\nc"');
    expect([...quotedPath('👩'.repeat(500))]).toHaveLength(101);
  });
});
