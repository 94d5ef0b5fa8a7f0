import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { block, line, repeat, writeBlock } from './lines.js';

describe('lines', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'impgem-lines-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('are as long as asked', () => {
    expect(line(3, 100)).toHaveLength(100);
    expect(line(9_999_999, 107)).toHaveLength(107);
  });

  it('are the same from the shell', () => {
    const script = `${writeBlock('block', 2000, 100)}; ${repeat('block', 3)} > all`;
    execFileSync('sh', ['-e', '-c', script], { cwd: folder });
    const bytes = block(2000, 100);
    expect(readFileSync(join(folder, 'block')).equals(bytes)).toBe(true);
    expect(readFileSync(join(folder, 'all')).equals(Buffer.concat([bytes, bytes, bytes]))).toBe(
      true,
    );
  });
});
