import { describe, expect, it } from '@jest/globals';
import type { WorkspaceFile } from '../executor/executor.js';
import { LeftOut, MOST_FILES, selectArtifacts } from './select-artifacts.js';

async function* listing(...paths: string[]): AsyncIterable<WorkspaceFile> {
  for (const entry of paths) {
    const [path = '', type = 'file', unreadable] = entry.split('|');
    const more = unreadable ? { unreadable: true } : {};
    yield { path, type: type as WorkspaceFile['type'], size: 1, mode: 0o644, ...more };
  }
}

/** As many as a list would be too big for. */
async function* many(count: number, path: (n: number) => string): AsyncIterable<WorkspaceFile> {
  for (let n = 0; n < count; n++) yield { path: path(n), type: 'file', size: 1, mode: 0o644 };
}

const hidden = () => listing('private|directory|unreadable', 'out.txt');
const alike = () => listing('makefile', 'Makefile', 'a\u0308', 'ä', 'X', 'x/y');

const paths = (files: readonly { path: string }[]): string[] => files.map(({ path }) => path);

/** Turns of the event loop while something runs. */
async function turnsOf(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  const count = setInterval(() => (turns += 1), 1);
  await work;
  clearInterval(count);
  return turns;
}

describe('selectArtifacts', () => {
  it('takes regular files, sorted, and what is below a named directory', async () => {
    const found = await selectArtifacts(
      listing('out|directory', 'out/b', 'out/.hidden', 'a.txt', 'other', '.'),
      ['out/', '*.txt', 'out/', 'out/b'],
    );
    expect(paths(found.files)).toEqual(['a.txt', 'out/.hidden', 'out/b']);
    expect([...found.literal]).toEqual(['out/b']);
    expect(found.unmatched).toEqual([]);
    expect(found.refused).toEqual([]);
    expect(found.leftOut.count).toBe(0);
  });

  it('names patterns that matched nothing, or nothing that can be taken', async () => {
    const found = await selectArtifacts(listing('a', 'l.so|link'), ['a', 'dist/**', '*.so']);
    expect(found.unmatched).toEqual(['dist/**', '*.so']);
  });

  const odd = [
    ['l|link', 'symbolic link'],
    ['p|other', 'no regular file'],
    ['a\nb', 'control'],
    ['a\\b', 'backslash'],
    ['c:x', 'drive'],
    ['aux.c', 'device'],
    ['a ', 'dot or a blank'],
    ['a\u009b', 'control'],
    ['x\u202ey', 'not seen'],
    ['a\ufffd', 'well-formed'],
    [
      `${'d'.repeat(250)}/${'d'.repeat(250)}/${'d'.repeat(250)}/${'d'.repeat(250)}/${'f'.repeat(21)}`,
      '1024 bytes',
    ],
    [`${'ü'.repeat(250)}`, '255 bytes'],
    ['secret|file|unreadable', 'may not read'],
    ['private|directory|unreadable', 'may not read'],
  ] as const;

  it('leaves out what a wildcard met and cannot be taken, and says why', async () => {
    const found = await selectArtifacts(listing(...odd.map(([entry]) => entry), 'fine'), ['**']);
    expect(paths(found.files)).toEqual(['fine']);
    expect(found.refused).toEqual([]);
    expect(found.leftOut.count).toBe(odd.length);
    const lines = found.leftOut.lines();
    expect(lines).toHaveLength(LeftOut.NAMED + 2);
    for (const [n, [, why]] of odd.slice(0, LeftOut.NAMED).entries())
      expect(lines[n + 1]).toContain(why);
    expect(lines.at(-1)).toContain(`and ${odd.length - LeftOut.NAMED} more`);
    // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
    expect(lines.join('')).not.toMatch(/[\u0000-\u001f\u0080-\u009f\u202e]/);
  });

  it.each(odd)('refuses %j when it is named by its whole path', async (entry, why) => {
    const [path = ''] = entry.split('|');
    const found = await selectArtifacts(listing(entry, 'fine'), [
      path.replaceAll('\\', '\\\\'),
      'fine',
    ]);
    expect(paths(found.refused)).toEqual([path]);
    expect(found.refused[0]?.reason).toContain(why);
    expect(paths(found.files)).toEqual(['fine']);
  });

  it('minds a folder that cannot be read only where a pattern leads', async () => {
    expect((await selectArtifacts(hidden(), ['out.txt'])).leftOut.count).toBe(0);
    expect((await selectArtifacts(hidden(), ['*.txt', 'private2/*'])).leftOut.count).toBe(0);
    expect((await selectArtifacts(hidden(), ['**/*.txt'])).leftOut.count).toBe(1);
    const named = await selectArtifacts(hidden(), ['private/a']);
    expect(paths(named.refused)).toEqual(['private']);
  });

  it('takes one of those that some systems take for one, first what is named', async () => {
    const found = await selectArtifacts(alike(), ['**']);
    expect(paths(found.files)).toEqual(['Makefile', 'X', 'a\u0308']);
    expect(found.leftOut.lines().join()).toMatch(/"makefile": another.*"x\/y": another.*"ä"/s);
    const named = await selectArtifacts(alike(), ['**', 'makefile']);
    expect(paths(named.files)).toContain('makefile');
    expect(paths(named.files)).not.toContain('Makefile');
    const both = await selectArtifacts(alike(), ['Makefile', 'makefile']);
    expect(paths(both.refused)).toEqual(['makefile']);
    expect(both.unmatched).toEqual(['makefile']);
  });

  it('refuses patterns that leave the workspace', async () => {
    const found = await selectArtifacts(listing('a'), ['../a', '/etc/passwd', 'x/../../y']);
    expect(paths(found.refused)).toEqual(['../a', '/etc/passwd', 'x/../../y']);
    expect(found.files).toEqual([]);
  });

  it('lets everything else go on while it looks through very many names', async () => {
    const missed = selectArtifacts(
      many(60_000, (n) => `out/${n}`),
      ['dist/**', '**/*.log', '{a,b}/*'],
    );
    expect(await turnsOf(missed)).toBeGreaterThan(1);
    expect((await missed).unmatched).toHaveLength(3);
    const deep = 'build/'.repeat(600);
    const slow = selectArtifacts(
      many(80, (n) => `${deep}${n}`),
      ['**/build/**/*.log'],
    );
    expect(await turnsOf(slow)).toBeGreaterThan(1);
    const taken = selectArtifacts(
      many(10_000, (n) => `out/${(n * 7919) % 10_000}`),
      ['**'],
    );
    expect(await turnsOf(taken)).toBeGreaterThan(1);
    const sorted = paths((await taken).files);
    expect(sorted).toEqual(sorted.toSorted());
  });

  it('takes none when there are too many, and ends when it is stopped', async () => {
    const found = await selectArtifacts(
      many(MOST_FILES + 1, (n) => `${n}`),
      ['*'],
    );
    expect(found.refused[0]?.reason).toContain('more than 65536 files');
    expect(found.files).toEqual([]);
    const stop = new AbortController();
    setImmediate(() => stop.abort(new Error('stopped')));
    const endless = many(Infinity, (n) => `${n}`);
    await expect(selectArtifacts(endless, ['x'], stop.signal)).rejects.toThrow('stopped');
  });
});
