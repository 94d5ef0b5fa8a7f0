import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Program, ROOT } from './program.js';

const execute = promisify(execFile);

/** The command lines of the processes that name a folder. */
async function programsBelow(dir: string): Promise<string[]> {
  const found = await execute('ps', ['-eo', 'args']);
  return found.stdout.split('\n').filter((line) => line.includes(dir));
}

describe('npm start in a fresh clone', () => {
  let dir = '';
  /** Below a folder that is closed to others, as root's home is, with a blank, and too deep for a socket (108 bytes). */
  const clone = () => join(dir, 'deep '.repeat(20), 'clone');

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem clone '));
    await execute('chmod', ['700', dir]);
    await mkdir(clone(), { recursive: true });
    // what a clone of the work tree would hold: nothing that is ignored …
    const list = 'git ls-files -z --cached --others --exclude-standard --deduplicate';
    await execute(
      'sh',
      ['-c', `${list} | tar -c --null --ignore-failed-read -T - | tar -x -C "$1"`, 'sh', clone()],
      {
        cwd: ROOT,
      },
    );
    // … but the packages, which `npm test` has installed with the very function that `npm start` uses
    const found = "find . -path './.*' -prune -o -name node_modules -prune -exec";
    const copy = (how: string) => `${found} cp ${how} --parents -t "$1" {} +`;
    // linked, where that is the same file system
    const both = `${copy('-al')} 2>/dev/null || ${copy('-a')}`;
    await execute('sh', ['-c', both, 'sh', clone()], { cwd: ROOT });
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it('builds, runs the quick start, shows its log and ends with its exit code', async () => {
    const start = new Program(
      'npm start',
      ['npm', 'start', '--', '--once', '--port', '0'],
      {},
      clone(),
    );
    try {
      await start.succeeds(220_000);
    } finally {
      await start.stop().catch(() => undefined);
    }
    expect(start.output).toMatch(/✔ quickstart #1/);
    expect(start.output).toContain('each with the right SHA-256');
  });

  it('stays, and stops all that it started when npm alone is told to end', async () => {
    const start = new Program('npm start', ['npm', 'start', '--', '--port', '0'], {}, clone());
    await start.line((line) => line.includes('Ctrl-C stops it'), 120_000);
    expect(await programsBelow(dir)).not.toEqual([]);
    await start.stop(60_000);
    expect(await programsBelow(dir)).toEqual([]);
  });
});
