import { afterAll, describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeExecutor } from './contract.js';
import { shell } from './contract/shell.js';
import { Audience, Stage } from './contract/stage.js';
import type { Subject } from './contract.js';
import type { Identity } from './executor.js';
import { HostExecutor } from './host/host-executor.js';

const root = mkdtempSync(join(tmpdir(), 'impgem-host-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Folders and processes. */
async function remains({ farm, worker }: Identity): Promise<string[]> {
  const whose = createHash('sha256').update(`${farm}/${worker}`).digest('hex').slice(0, 12);
  const folders = readdirSync(root).filter((name) => name.startsWith(whose));
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`=${whose}-`)
      );
    } catch {
      return false;
    }
  });
  return [...folders, ...processes.map((pid) => `process ${pid}`)];
}

const subject: Subject = {
  name: 'host',
  create: () => new HostExecutor(root),
  dialect: { ...shell, unstartable: () => ({ workdir: '../outside' }) },
  step: {},
  remains,
};
describeExecutor(subject);

describe('the host executor, beyond the contract', () => {
  const stage = new Stage(subject);
  stage.install();

  it('gives a step nothing of its own environment', async () => {
    const { stdout } = await stage.play('env', { env: { GIVEN: '1' } });
    const names = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(names.toSorted()).toEqual(['GIVEN', 'HOME', 'IMPGEM_STEP', 'PATH', 'PWD']);
  });

  it('finds children that left the process group', async () => {
    const audience = new Audience();
    const workspace = await stage.workspace();
    const spec = stage.spec('setsid sleep 300 >/dev/null 2>&1 & echo started; wait');
    const step = await stage.start(workspace, spec, audience.sink);
    await audience.sees('started');
    await step.stop(0);
    const left = await remains(stage.identity);
    expect(left.filter((object) => object.startsWith('process'))).toEqual([]);
  });

  it('says why an environment is too big', async () => {
    const env = { HUGE: 'x'.repeat(200_000) };
    await expect(stage.play('true', { env })).rejects.toMatchObject({
      message: expect.stringContaining('128 KiB'),
    });
  });
});
