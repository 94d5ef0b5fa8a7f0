import { mkdtemp, readFile, readdir, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Program, ROOT } from './program.js';

interface Block {
  line: number;
  text: string;
  /** Why it is not run here. */
  notRun: string | undefined;
}

/** The shell blocks of a page, in order; `<!-- not run: reason -->` right before one says why it is not run. */
function shellBlocks(page: string): Block[] {
  const found = page.matchAll(/(?:<!-- not run: ([^>]*?) -->\s*)?^```sh\n([\s\S]*?)^```/gm);
  return [...found].map((match) => ({
    line: page.slice(0, match.index).split('\n').length,
    text: match[2] ?? '',
    notRun: match[1],
  }));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

describe('the code blocks of the README', () => {
  let dir = '';
  let farm: Program;
  let port = 0;

  beforeAll(async () => {
    // a folder that looks like the clone, so that nothing is written into the real one
    dir = await mkdtemp(join(tmpdir(), 'impgem-readme-'));
    for (const name of await readdir(ROOT)) {
      if (!name.startsWith('.')) await symlink(join(ROOT, name), join(dir, name));
    }
    port = await freePort();
    const up = [join(ROOT, 'apps/cli/bundle/main.js'), 'up', '--port', String(port)];
    farm = new Program('impgem up', [process.execPath, ...up], {}, dir);
    await farm.line((line) => line.includes('the farm runs at'), 120_000);
  });
  afterAll(async () => {
    await farm?.stop(60_000);
    await rm(dir, { recursive: true, force: true });
  });

  it('do what the README says, one after the other in one shell', async () => {
    const page = await readFile(join(ROOT, 'README.md'), 'utf8');
    const blocks = shellBlocks(page);
    const toRun = blocks.filter(({ notRun }) => notRun === undefined);
    expect(toRun.length).toBeGreaterThanOrEqual(6);
    const script = toRun
      .map(({ line, text }) => `echo "README.md:${line}" >&2\n${text}`)
      .join('\n')
      .replaceAll('127.0.0.1:8010', `127.0.0.1:${port}`);
    const bash = ['bash', '-euo', 'pipefail', '-c', script];
    // wscat ends when its input does
    const shell = new Program('README', bash, {}, dir, 'pipe');
    await shell.succeeds(240_000);
    expect(shell.output).toContain('Hello, you');
    expect(shell.output).toContain('"whom":"curl"');
    expect(shell.stdout).toContain('"type":"subscribed"');
    expect(await readdir(join(dir, 'out'))).not.toEqual([]);
  });

  it('never let a registry say what runs', async () => {
    const pages = ['README.md', 'docs/operations.md', 'docs/upgrading.md'];
    for (const page of pages) {
      const blocks = shellBlocks(await readFile(join(ROOT, page), 'utf8'));
      expect(
        blocks.filter(({ text }) => /\b(npx|npm exec|yarn dlx|pnpm dlx)\b/.test(text)),
      ).toEqual([]);
    }
  });
});
