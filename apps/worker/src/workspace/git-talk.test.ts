import { describe, expect, it } from '@jest/globals';
import { GitTalk } from './git-talk.js';

function told(...texts: string[]): { said: string[]; lines: string[] } {
  const lines: string[] = [];
  const talk = new GitTalk((line) => void lines.push(line));
  for (const text of texts) talk.take(text);
  talk.end();
  return { said: talk.said, lines };
}

describe('what git says', () => {
  it('is told again without progress and without what went well', () => {
    const branches = Array.from({ length: 30 }, (_, n) => ` * [new branch]  b${n} -> b${n}\n`);
    const { said, lines } = told(
      'remote: Enumerating objects: 5, done.\nremote: Counting objects: 100% (5/5)\r',
      'Receiving objects: 100% (5/5)\rFrom https://host/x\n',
      ...branches,
      '   12ab34c..98fe76d  main -> main\n + 12ab34c...98fe76d side -> side (forced update)\n',
      ' - [deleted] (none) -> old\nhint: do this\n',
      "error: cannot lock ref 'refs/heads/x': Unable to create '/m/x.lock': File exists.\n",
      ' ! 12ab34c..98fe76d x -> x (unable to update local ref)\nfatal: it is over',
    );
    expect(said).toEqual([
      "error: cannot lock ref 'refs/heads/x': Unable to create '/m/x.lock': File exists.",
      ' ! 12ab34c..98fe76d x -> x (unable to update local ref)',
      'fatal: it is over',
    ]);
    expect(lines).toContain(' * [new branch]  b7 -> b7');
  });

  it('is bounded, and keeps its beginning and its end', () => {
    const { said } = told(...Array.from({ length: 20 }, (_, n) => `error: ${n}\n`));
    expect(said).toEqual([
      ...[0, 1, 2, 3].map((n) => `error: ${n}`),
      '(12 more lines)',
      ...[16, 17, 18, 19].map((n) => `error: ${n}`),
    ]);
    expect(told(`fatal: ${'x'.repeat(5000)}\n`).said[0]).toHaveLength(500);
    expect(told('x'.repeat(5000), 'y'.repeat(5000)).said[0]).toHaveLength(500);
  });

  it('has no credentials and no control characters in it', () => {
    const { said, lines } = told(
      "fatal: unable to access 'https://me:s3cret@host/x/': 403\n",
      'remote: \u001b[31mred\u0007\u009b2J\n',
    );
    expect(said).toEqual(["fatal: unable to access 'https://host/x/': 403", 'remote: [31mred2J']);
    expect(lines).toEqual(said);
  });
});
