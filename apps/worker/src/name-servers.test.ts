import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examineNameServers } from './name-servers.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-names-'));
});
afterAll(() => rm(folder, { recursive: true }));

it.each([
  ['nameserver 10.0.0.1\nnameserver 169.254.169.253\n', 'ok'],
  ['# none\nsearch example.org\n', 'warn'],
  ['nameserver 169.254.169.253\n', 'warn'],
])('judges %j as %s', async (text, status) => {
  const file = join(folder, 'resolv.conf');
  await writeFile(file, text);
  expect(await examineNameServers([], file)).toMatchObject([{ status }]);
  expect(await examineNameServers(['10.0.0.9'], file)).toMatchObject([{ status: 'ok' }]);
});

it('warns when there is no such file', async () => {
  expect(await examineNameServers([], join(folder, 'none'))).toMatchObject([
    { status: 'warn', mend: expect.stringContaining('IMPGEM_RESOLVERS') },
  ]);
});
