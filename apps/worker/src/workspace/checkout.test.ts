import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync, existsSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import { checkout } from './checkout.js';
import type { CheckoutOptions } from './checkout.js';

// Git itself and a disk are what is tested: no stand-in would prove anything.
let home: string;
let origin: string;
const lines: string[] = [];

function sh(command: string): string {
  return execFileSync('sh', ['-e', '-c', command], { cwd: origin, encoding: 'utf8' }).trim();
}

function commit(name: string, text: string): string {
  writeFileSync(join(origin, name), text);
  return sh(
    `git add -A && git -c user.name=t -c user.email=t@t commit -q -m ${name} && git rev-parse HEAD`,
  );
}

function options(ref?: string, more: Partial<CheckoutOptions> = {}): CheckoutOptions {
  return {
    source: { git: origin, ...(ref === undefined ? {} : { ref }) },
    cacheDir: join(home, 'mirrors'),
    log: (line) => void lines.push(line),
    signal: new AbortController().signal,
    allowLocal: true,
    ...more,
  };
}

async function entries(
  from: CheckoutOptions,
): Promise<{ revision: string; names: Map<string, string> }> {
  const { revision, tar: stream } = await checkout(from);
  const extract = tar.extract();
  const names = new Map<string, string>();
  const done = pipeline(stream, extract);
  for await (const entry of extract) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    const { name, type, linkname } = entry.header;
    names.set(name, type === 'symlink' ? `-> ${linkname}` : Buffer.concat(chunks).toString());
  }
  await done;
  return { revision, names };
}

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'impgem-checkout-'));
  origin = join(home, 'origin');
  execFileSync('git', ['init', '-q', '-b', 'main', origin]);
  symlinkSync('/etc/passwd', join(origin, 'link'));
  commit('one', '1');
});

afterAll(() => rmSync(home, { recursive: true, force: true }));

const clones = (): string[] =>
  readdirSync(join(home, 'mirrors')).filter((n) => n.startsWith('clone-'));

/** Clones are removed right after their tar was read. */
async function gone(): Promise<void> {
  while (clones().length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('checkout', () => {
  it('hands out a real clone of the default branch, and follows it', async () => {
    const first = await entries(options());
    expect(first.names.get('one')).toBe('1');
    expect(first.names.get('link')).toBe('-> /etc/passwd');
    expect(first.names.get('.git/HEAD')).toBe('ref: refs/heads/main\n');
    const head = commit('two', '2');
    const second = await entries(options());
    expect(second.revision).toBe(head);
    expect(second.names.get('two')).toBe('2');
    await gone();
  });

  it('finds branches, tags and commits, and takes a known commit without the network', async () => {
    const before = sh('git rev-parse HEAD');
    sh('git tag v1 && git checkout -q -b side');
    const side = commit('three', '3');
    sh('git checkout -q main');
    expect((await entries(options('v1'))).revision).toBe(before);
    expect((await entries(options('side'))).revision).toBe(side);
    lines.length = 0;
    expect((await entries(options(side))).revision).toBe(side);
    expect(lines).toEqual([]);
  });

  it('runs neither hooks nor filters', async () => {
    const proof = join(home, 'proof');
    writeFileSync(join(origin, '.gitattributes'), '* filter=evil\n');
    writeFileSync(join(origin, '.git/hooks/post-checkout'), `#!/bin/sh\ntouch ${proof}\n`, {
      mode: 0o755,
    });
    commit('four', '4');
    await entries(options());
    expect(existsSync(proof)).toBe(false);
  });

  it('serves many builds of one repository at once', async () => {
    const all = await Promise.all([1, 2, 3, 4].map(() => entries(options('main'))));
    expect(new Set(all.map(({ revision }) => revision)).size).toBe(1);
  });

  it('says which ref is missing', async () => {
    await expect(checkout(options('nowhere'))).rejects.toMatchObject({
      code: 'source-unavailable',
      message: expect.stringContaining('nowhere'),
    });
    await gone();
  });

  it("gives git's last words for an address that refuses", async () => {
    const source = { git: 'git://127.0.0.1:1/x.git' };
    await expect(checkout(options(undefined, { source }))).rejects.toMatchObject({
      code: 'source-unavailable',
      message: expect.stringMatching(/Connection refused[\s\S]*Check the address/),
    });
  });

  it('gives up on an address that never answers', async () => {
    const sockets = new Set<{ destroy(): void }>();
    const server = createServer((socket) => void sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const source = { git: `git://127.0.0.1:${(server.address() as AddressInfo).port}/x.git` };
    await expect(checkout(options(undefined, { source, quietMs: 200 }))).rejects.toMatchObject({
      code: 'source-unavailable',
      message: expect.stringContaining('silent'),
    });
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it('ends at once when it is cancelled, and leaves no clone', async () => {
    const cancel = new AbortController();
    const server = createServer(() => cancel.abort());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const source = { git: `git://127.0.0.1:${(server.address() as AddressInfo).port}/x.git` };
    await expect(
      checkout(options(undefined, { source, signal: cancel.signal })),
    ).rejects.toMatchObject({ code: 'cancelled' });
    await gone();
    server.close();
  });
});
