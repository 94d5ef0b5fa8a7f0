import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ordeal } from './chaos/ordeal.js';

describe('a build that counts aloud', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-e2e-'));
    await chmod(dir, 0o755);
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('outlives three masters, a cut of the network and its worker, and loses no line', async () => {
    const { build, attempts, log, expected } = await ordeal({ dataDir: dir, seconds: 24 });
    expect(build).toMatchObject({ result: 'success', attempt: 1 });
    expect(attempts).toBe(1);
    expect(log).toBe(expected);
  });
});
