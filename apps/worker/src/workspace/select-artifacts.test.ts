import { describe, expect, it } from '@jest/globals';
import type { WorkspaceFile } from '../executor/executor.js';
import { selectArtifacts } from './select-artifacts.js';

async function* listing(...paths: string[]): AsyncIterable<WorkspaceFile> {
  for (const entry of paths) {
    const [path = '', type = 'file'] = entry.split('|');
    yield { path, type: type as WorkspaceFile['type'], size: 1, mode: 0o644 };
  }
}

const paths = (files: readonly { path: string }[]): string[] => files.map(({ path }) => path);

describe('selectArtifacts', () => {
  it('takes regular files, sorted, and what is below a named directory', async () => {
    const found = await selectArtifacts(
      listing('out|directory', 'out/b', 'out/.hidden', 'a.txt', 'other'),
      ['out/', '*.txt'],
    );
    expect(paths(found.files)).toEqual(['a.txt', 'out/.hidden', 'out/b']);
    expect(found.unmatched).toEqual([]);
    expect(found.refused).toEqual([]);
  });

  it('names patterns that matched nothing', async () => {
    const found = await selectArtifacts(listing('a'), ['a', 'dist/**']);
    expect(found.unmatched).toEqual(['dist/**']);
  });

  it('refuses links, devices and names that are no text, and says why', async () => {
    const found = await selectArtifacts(listing('l|link', 'p|other', 'a\nb', 'a\\b', 'fine'), [
      '**',
    ]);
    expect(paths(found.files)).toEqual(['fine']);
    expect(paths(found.refused)).toEqual(['l', 'p', 'a\nb', 'a\\b']);
    expect(found.refused[0]?.reason).toContain('symbolic link');
  });

  it('refuses patterns that leave the workspace', async () => {
    const found = await selectArtifacts(listing('a'), ['../a', '/etc/passwd', 'x/../../y']);
    expect(paths(found.refused)).toEqual(['../a', '/etc/passwd', 'x/../../y']);
    expect(found.files).toEqual([]);
  });
});
