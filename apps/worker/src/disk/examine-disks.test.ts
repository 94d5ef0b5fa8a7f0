import { expect, it } from '@jest/globals';
import { tmpdir } from 'node:os';
import { examineDisks } from './examine-disks.js';

it('says what is free, also where a folder is still to be made', async () => {
  const [here, later] = await examineDisks([tmpdir(), `${tmpdir()}/not/there/yet`], {
    bytes: 0,
    inodes: 0,
  });
  expect(here).toMatchObject({ status: 'ok', text: expect.stringMatching(/has \d+ MiB free$/) });
  expect(later).toMatchObject({ status: 'ok' });
});

it('says what a worker wants, and how to mend it', async () => {
  const [low] = await examineDisks([tmpdir()], { bytes: Number.MAX_SAFE_INTEGER, inodes: 0 });
  expect(low).toMatchObject({
    status: 'warn',
    text: expect.stringMatching(/and wants \d+ MiB; a worker takes no work then$/),
    mend: 'make room there, or lower IMPGEM_WORKER_MIN_FREE',
  });
});

it('says that a folder cannot be looked at', async () => {
  const [refused] = await examineDisks(['/dev/null/x'], { bytes: 0, inodes: 0 });
  expect(refused).toMatchObject({
    status: 'fail',
    mend: expect.stringContaining('IMPGEM_WORKER_DATA'),
  });
});
