import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { fastify } from 'fastify';
import { serveDocs } from './openapi.js';
import { serveWebPage } from './web-page.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'impgem-test-page-'));
  const page = '<meta name="impgem-base" content="./" /><script src="./assets/a.js"></script>';
  await writeFile(path.join(folder, 'index.html'), page);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function served(below: string, url: string): Promise<{ status: number; text: string }> {
  const http = fastify();
  await serveDocs(http, () => ({}) as never, below);
  await serveWebPage(http, folder, below);
  const { statusCode, payload } = await http.inject({ method: 'GET', url });
  return { status: statusCode, text: payload };
}

describe('the page', () => {
  it.each(['/', '/index.html', '/builders/a/builds/1'])(
    'names its files below the path of the public address, wherever it is: %s',
    async (url) => {
      expect((await served('/farm', url)).text).toBe(
        '<meta name="impgem-base" content="/farm/" /><script src="/farm/assets/a.js"></script>',
      );
      expect((await served('', url)).text).toContain('content="/" /><script src="/assets/a.js"');
    },
  );

  it('of the documentation does so, too', async () => {
    expect((await served('/farm', '/api/docs')).text).toContain('src="/farm/api/docs/start.js"');
    expect((await served('/farm', '/api/docs/start.js')).text).toContain("'/farm/api/docs-json'");
  });

  it('takes a target that is no address to URL for one that it does not have', async () => {
    expect((await served('', '//[')).status).toBe(200);
    expect((await served('', '//x/../api/none')).status).toBeLessThan(500);
  });
});
