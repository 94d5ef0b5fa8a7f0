import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  readFileSync,
  statSync,
  existsSync,
  lutimesSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { patient } from '@impgem/testkit';
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

/** Unpacked as an executor does it, into a folder of its own. */
async function unpacked(from: CheckoutOptions): Promise<string> {
  const folder = mkdtempSync(join(home, 'workspace-'));
  const { tar: stream, outward } = await checkout(from);
  const child = spawn('tar', ['-x', '-p', '-C', folder], { stdio: ['pipe', 'inherit', 'inherit'] });
  await Promise.all([pipeline(stream, child.stdin), once(child, 'exit')]);
  for (const { path, target, mtime } of outward) {
    symlinkSync(target, join(folder, path));
    lutimesSync(join(folder, path), mtime, mtime);
  }
  return folder;
}

const gitIn = (folder: string, ...args: string[]): string =>
  execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8' }).trim();

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

  it('hands out a tree that is clean for git at once, and notices each change', async () => {
    sh(
      'mkdir -p a/b && ln -s ../../../outside a/b/up && printf x > a/x.sh && chmod +x a/x.sh && git add -A',
    );
    sh('git -c user.name=t -c user.email=t@t commit -q -m links');
    const folder = await unpacked(options());
    // Asks for what the index knows, and reads no file whose time and size are right.
    expect(gitIn(folder, 'diff-index', 'HEAD')).toBe('');
    expect(gitIn(folder, 'diff-files')).toBe('');
    expect(gitIn(folder, 'status', '--porcelain')).toBe('');
    expect(gitIn(folder, 'fsck', '--no-dangling')).toBe('');
    writeFileSync(join(folder, 'a/x.sh'), 'y');
    expect(gitIn(folder, 'diff-index', '--name-only', 'HEAD')).toBe('a/x.sh');
    rmSync(folder, { recursive: true });
  });

  it('is on the branch that the HEAD of the remote names, and knows it', async () => {
    sh('git branch -f a-branch && git branch -f trunk && git symbolic-ref HEAD refs/heads/trunk');
    for (const [ref, at] of [
      [undefined, 'trunk'],
      ['a-branch', 'a-branch'],
      ['v1', 'HEAD'],
    ] as const) {
      const folder = await unpacked(options(ref));
      expect(gitIn(folder, 'rev-parse', '--abbrev-ref', 'HEAD')).toBe(at);
      expect(gitIn(folder, 'rev-parse', '--abbrev-ref', 'origin/HEAD')).toBe('origin/trunk');
      expect(gitIn(folder, 'remote', 'get-url', 'origin')).toBe(origin);
    }
    sh('git symbolic-ref HEAD refs/heads/main && git branch -q -D trunk');
    const folder = await unpacked(options('a-branch'));
    // Moves only with builds of the default branch, as in any clone; one that is gone is not kept.
    expect(gitIn(folder, 'for-each-ref', '--format=%(refname)', 'refs/remotes')).not.toContain(
      'trunk',
    );
    expect(
      gitIn(await unpacked(options()), 'rev-parse', '--abbrev-ref', 'HEAD', 'origin/HEAD'),
    ).toBe('main\norigin/main');
  });

  it('takes the commit of a remote whose HEAD is no branch', async () => {
    const before = sh('git rev-parse HEAD');
    sh(
      'git checkout -q --detach && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m apart',
    );
    const folder = await unpacked(options());
    expect(gitIn(folder, 'rev-parse', 'HEAD')).toBe(sh('git rev-parse HEAD'));
    expect(gitIn(folder, 'rev-parse', '--abbrev-ref', 'HEAD')).toBe('HEAD');
    expect(gitIn(folder, 'rev-parse', 'origin/main')).toBe(before);
    sh('git checkout -q main');
  });

  it('says what to do about a repository without commits, or without the branch of its HEAD', async () => {
    const empty = join(home, 'empty');
    execFileSync('git', ['init', '-q', '-b', 'main', empty]);
    for (const ref of [undefined, 'main']) {
      const order = options(ref, { source: { git: empty, ...(ref ? { ref } : {}) } });
      await expect(checkout(order)).rejects.toMatchObject({
        code: 'source-unavailable',
        message: expect.stringContaining('is empty: push a commit'),
      });
    }
    sh('git symbolic-ref HEAD refs/heads/unborn');
    await expect(checkout(options())).rejects.toMatchObject({
      code: 'source-unavailable',
      message: expect.stringMatching(/HEAD names a branch that is not there.*: .*main/),
    });
    sh('git symbolic-ref HEAD refs/heads/main');
    await expect(checkout(options('mian'))).rejects.toMatchObject({
      message: expect.stringContaining('did you mean main?'),
    });
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

  it('signs in with the credentials of an old address, and shows them nowhere', async () => {
    const bare = join(home, 'served');
    execFileSync('git', ['clone', '-q', '--bare', origin, bare]);
    execFileSync('git', ['-C', bare, 'update-server-info']);
    const basic = `Basic ${Buffer.from('me:s3cret').toString('base64')}`;
    const server = createHttpServer((request, answer) => {
      const file = join(
        bare,
        new URL(request.url ?? '', 'http://x').pathname.replace('/x.git', ''),
      );
      if (request.headers.authorization !== basic)
        answer.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      else if (existsSync(file) && statSync(file).isFile()) answer.end(readFileSync(file));
      else answer.writeHead(404).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const source = { git: `http://me:s3cret@127.0.0.1:${port}/x.git` };
    lines.length = 0;
    const folder = await unpacked(options(undefined, { source }));
    expect(gitIn(folder, 'remote', 'get-url', 'origin')).toBe(`http://127.0.0.1:${port}/x.git`);
    expect(spawnSync('grep', ['-r', 's3cret', folder]).status).toBe(1);
    for (const git of [source.git.replace('me', 'no'), `${source.git}?private_token=s3cret`]) {
      const refused = checkout(options(undefined, { source: { git } }));
      await expect(refused).rejects.toMatchObject({ code: 'source-unavailable' });
      await expect(refused).rejects.not.toMatchObject({
        message: expect.stringContaining('s3cret'),
      });
    }
    expect(lines.join()).not.toContain('s3cret');
    server.closeAllConnections();
    server.close();
  });

  it('gives up on an address that never answers', async () => {
    const sockets = new Set<{ destroy(): void }>();
    const server = createServer((socket) => void sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const source = { git: `git://127.0.0.1:${(server.address() as AddressInfo).port}/x.git` };
    await expect(
      checkout(options(undefined, { source, quietMs: patient(2_000) })),
    ).rejects.toMatchObject({
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
