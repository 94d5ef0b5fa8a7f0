import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Artifact, Page } from '@impgem/client';
import { SeededBuild, seedFarm } from '../builds/testing.js';
import { type TestMaster, testMaster } from '../testing.js';
import { ArtifactReceiver } from './receiver.js';

const NAMES = ['dist/app.html', 'a b/ü "q" %2e.txt', 'x?y#z;k', '日本/語'];
const BYTES = Buffer.from('<script>0123456789</script>');
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

let master: TestMaster;
let build: SeededBuild;
beforeAll(async () => {
  master = await testMaster();
  await seedFarm(master.database);
  build = await SeededBuild.begin(master.database);
  const receiver = master.app.get(ArtifactReceiver);
  for (const [artifact, path] of NAMES.entries()) {
    const ref = { build: build.id, epoch: 1, artifact };
    const size = BYTES.length;
    // Some come as small ones do, in a pack.
    const files = [{ artifact, path, size, mode: 0o644, sha256: SHA256 }];
    const pack = artifact % 2 === 0 ? { files } : {};
    await receiver.offer('w', { type: 'artifact.offer', ...ref, path, size, mode: 0o644, ...pack });
    await receiver.write({ kind: 'artifact', ...ref, offset: 0, payload: BYTES });
    await receiver.done({ type: 'artifact.done', ...ref, size, sha256: SHA256 });
  }
});
afterAll(() => master.stop());

const get = (path: string, headers: Record<string, string> = {}) =>
  master.call(
    'GET',
    `/api/v1/builds/${build.id}/artifacts/${path.split('/').map(encodeURIComponent).join('/')}`,
    { headers },
  );

/** More than the buffers of a connection on this machine take. */
const LARGE_BYTES = 32 * 1024 * 1024;

async function storeLarge(): Promise<void> {
  const receiver = master.app.get(ArtifactReceiver);
  const ref = { build: build.id, epoch: 1, artifact: NAMES.length };
  const [path, size] = ['zz/large', LARGE_BYTES];
  const payload = Buffer.alloc(1024 * 1024);
  const hash = createHash('sha256');
  await receiver.offer('w', { type: 'artifact.offer', ...ref, path, size, mode: 0o644 });
  for (let offset = 0; offset < size; offset += payload.length) {
    hash.update(payload);
    await receiver.write({ kind: 'artifact', ...ref, offset, payload });
  }
  await receiver.done({ type: 'artifact.done', ...ref, size, sha256: hash.digest('hex') });
}

describe('artifacts', () => {
  it('are listed in pages', async () => {
    const seen: string[] = [];
    let after = '';
    for (let more = true; more;) {
      const answer = await master.call(
        'GET',
        `/api/v1/builds/${build.id}/artifacts?limit=3${after}`,
      );
      const page = (await answer.json()) as Page<Artifact>;
      seen.push(...page.items.map(({ path }) => path));
      more = page.next !== null;
      after = `&after=${page.next}`;
      expect(page.items[0]).toEqual({
        path: expect.any(String),
        size: BYTES.length,
        sha256: SHA256,
        mode: 0o644,
        createdAt: expect.any(String),
      });
    }
    expect(seen).toEqual(NAMES);
  });

  it.each(NAMES)('are downloaded under any name: %s', async (name) => {
    const answer = await get(name);
    expect(answer.status).toBe(200);
    expect(Buffer.from(await answer.arrayBuffer()).equals(BYTES)).toBe(true);
  });

  it('come as a file, and never as a page', async () => {
    const { headers } = await get(NAMES[1] ?? '');
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': String(BYTES.length),
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringContaining('sandbox'),
      'content-disposition': expect.stringMatching(/^attachment; filename=.*filename\*=UTF-8''/),
      etag: `"${SHA256}"`,
      'accept-ranges': 'bytes',
    });
  });

  it('come in part, and not at all when the reader has them', async () => {
    const etag = `"${SHA256}"`;
    const part = await get('dist/app.html', { range: 'bytes=8-17', 'if-range': etag });
    expect([part.status, await part.text()]).toEqual([206, '0123456789']);
    expect(part.headers.get('content-range')).toBe(`bytes 8-17/${BYTES.length}`);
    const other = await get('dist/app.html', { range: 'bytes=8-17', 'if-range': '"old"' });
    expect(other.status).toBe(200);
    await other.arrayBuffer();
    expect((await get('dist/app.html', { range: 'bytes=99-' })).status).toBe(416);
    expect((await get('dist/app.html', { 'if-none-match': `W/"x", ${etag}` })).status).toBe(304);
  });

  it('tell their size to HEAD, without the bytes', async () => {
    const path = `/api/v1/builds/${build.id}/artifacts/dist/app.html`;
    const answer = await master.call('HEAD', path);
    expect(answer.headers.get('content-length')).toBe(String(BYTES.length));
    expect(await answer.text()).toBe('');
  });

  it.each(['no/such', '..%2f..%2fetc/passwd', '%00', 'dist', 'dist%5capp.html'])(
    'are not there under %s',
    async (path) => {
      const answer = await master.call('GET', `/api/v1/builds/${build.id}/artifacts/${path}`);
      expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'not-found' }]);
    },
  );

  it.each(['zip', 'tar'])('come all in one %s', async (format) => {
    const path = `/api/v1/builds/${build.id}/artifacts.${format}`;
    const answer = await master.call('GET', path);
    expect(answer.headers.get('content-disposition')).toBe(`attachment; filename="b-1.${format}"`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    for (const name of NAMES) expect(bytes.includes(Buffer.from(name))).toBe(true);
    expect(bytes.toString('latin1').split(BYTES.toString())).toHaveLength(NAMES.length + 1);
    if (format === 'zip') expect(answer.headers.get('content-length')).toBe(String(bytes.length));
    const head = await master.call('HEAD', path);
    expect([head.status, await head.text()]).toEqual([200, '']);
    const none = await master.call('GET', `/api/v1/builds/999999/artifacts.${format}`);
    expect(none.status).toBe(404);
    await none.text();
    const without = await master.call('GET', path, { token: null });
    expect(without.status).toBe(401);
    await without.text();
  });

  it('need a token', async () => {
    const path = `/api/v1/builds/${build.id}/artifacts/dist/app.html`;
    expect((await master.call('GET', path, { token: null })).status).toBe(401);
  });
});

describe('a download that is under way', () => {
  it.each(['artifacts/zz/large', 'artifacts.tar'])(
    'ends when its token is revoked, and has a bound per caller: %s',
    async (path) => {
      if (path === 'artifacts/zz/large') await storeLarge();
      const { id, token } = await master.newToken(['read']);
      const ask = () => master.call('GET', `/api/v1/builds/${build.id}/${path}`, { token });
      const running: Response[] = [];
      for (let status = 200; status === 200;) {
        const answer = await ask();
        ({ status } = answer);
        if (status === 200) running.push(answer);
        else expect([status, answer.headers.get('retry-after')]).toEqual([429, '5']);
      }
      const { downloadsPerCaller, archivesPerCaller } = master.config.limits;
      expect([downloadsPerCaller, archivesPerCaller]).toContain(running.length);
      expect((await get(NAMES[0] ?? '')).status).toBe(200);
      const over = Promise.allSettled(running.map((answer) => answer.arrayBuffer()));
      await master.call('DELETE', `/api/v1/tokens/${id}`);
      // What fits into buffers may have gone by then.
      expect((await over).some(({ status }) => status === 'rejected')).toBe(true);
    },
  );
});
