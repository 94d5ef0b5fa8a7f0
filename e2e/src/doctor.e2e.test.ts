import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testEngine } from '@impgem/testkit';
import { randomUUID } from 'node:crypto';
import type { About } from '@impgem/client';
import { startFarm, type Farm } from './farm.js';
import { ROOT } from './program.js';

interface Said {
  code: number;
  out: string;
  err: string;
}

/** A command line of `impgem`, run to its end. */
function impgem(env: Record<string, string>, ...argv: string[]): Promise<Said> {
  const file = join(ROOT, 'apps/cli/bin/impgem.js');
  return new Promise((resolve) => {
    const options = { env: { ...process.env, NO_COLOR: '1', ...env }, cwd: '/' };
    const child = execFile(process.execPath, [file, ...argv], options, (_, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
}

describe('doctor and prune', () => {
  let farm: Farm;
  let env: Record<string, string>;
  const engine = testEngine();
  beforeAll(async () => {
    farm = await startFarm({ workers: 1, embedded: true });
    env = { IMPGEM_URL: farm.url, IMPGEM_TOKEN: farm.token };
  });
  afterAll(() => farm?.stop());

  it('finds a farm that is well to be well, and a master that is gone to be gone', async () => {
    const well = await impgem(env, 'doctor');
    expect(well.out).not.toContain('fail');
    expect(well.out).toMatch(/^ok +workers: 1 online$/m);
    expect(well.out).toMatch(/^ok +token: valid: .*admin/m);
    expect(well.code).toBe(0);
    const data = { IMPGEM_DATA: join(farm.dataDir, 'master'), IMPGEM_URL: 'http://127.0.0.1:9' };
    const gone = await impgem({ ...data, DOCKER_HOST: 'unix:///nowhere.sock' }, '--json', 'doctor');
    expect(gone.code).toBe(7);
    const failed = (JSON.parse(gone.out) as { check: string; status: string; mend: string }[])
      .filter(({ status }) => status === 'fail')
      .map(({ check, mend }) => [check, mend]);
    expect(failed).toEqual([
      ['engine', expect.stringContaining('systemctl start docker')],
      ['master', expect.any(String)],
    ]);
    expect(gone.out).toContain('its schema is this version');
  });

  it('lists what dead workers left, removes it when told, and nothing that is in use', async () => {
    const { farm: id } = await farm.api<About>('GET', '/about');
    const dead = { 'impgem.farm': id, 'impgem.worker': randomUUID(), 'impgem.role': 'workspace' };
    const name = `impgem-e2e-${randomUUID()}`;
    await engine.createVolume({ Name: name, Labels: dead });
    const inUse = async () =>
      (await engine.listContainers({ all: true, filters: { label: [`impgem.farm=${id}`] } })).map(
        ({ Id }) => Id,
      );
    const before = await inUse();
    expect(before.length).toBeGreaterThan(0);
    const listed = await impgem(env, 'workers', 'prune');
    expect(listed).toMatchObject({
      code: 0,
      err: expect.stringContaining('--yes removes these 1'),
    });
    expect(listed.out).toContain(name);
    await engine.getVolume(name).inspect();
    const removed = await impgem(env, '--json', 'workers', 'prune', '--yes');
    expect([removed.code, JSON.parse(removed.out)]).toMatchObject([
      0,
      { leftovers: [{ name, why: 'its worker was revoked' }], removed: [{ id: name }] },
    ]);
    await expect(engine.getVolume(name).inspect()).rejects.toThrow('no such volume');
    expect(await inUse()).toEqual(expect.arrayContaining(before));
    const again = await impgem(env, 'workers', 'prune');
    expect(again.err).toContain('nothing is left behind');
  });
});
