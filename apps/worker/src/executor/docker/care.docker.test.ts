import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testEngine, testEngineHost, testIdentity } from '@impgem/testkit';
import { randomUUID } from 'node:crypto';
import { engineCare } from './care.js';
import { examineEngine } from './examine-engine.js';
import { labelsOf, nameOf } from './labels.js';

const engine = testEngine();
const care = engineCare({ host: testEngineHost });
const dead = testIdentity();
const { farm } = dead;
const live = { farm, worker: randomUUID() };
const elsewhere = { ...testIdentity(), worker: dead.worker };
const attempt = { build: 7, epoch: 2 };

async function make(identity: typeof dead): Promise<string> {
  const volume = nameOf(identity, 'workspace', attempt);
  await engine.createVolume({ Name: volume, Labels: labelsOf(identity, 'workspace', attempt) });
  const network = await engine.createNetwork({
    Name: nameOf(identity, 'network'),
    Labels: labelsOf(identity, 'network'),
    Internal: true,
    IPAM: { Config: [{ Subnet: subnets.shift() as string }] },
  });
  await engine.createContainer({
    name: nameOf(identity, 'step', attempt),
    Image: 'busybox:1.37',
    Cmd: ['sleep', '1000'],
    Labels: labelsOf(identity, 'step', attempt),
    HostConfig: { Binds: [`${volume}:/w`], NetworkMode: network.id },
  });
  return volume;
}
/** Where no allocator of ours, nor the engine's, looks. */
const subnets = ['10.254.77.0/28', '10.254.77.16/28', '10.254.77.32/28'];

beforeAll(async () => {
  for (const identity of [dead, live, elsewhere]) await make(identity);
});
afterAll(async () => {
  for (const one of [farm, elsewhere.farm]) await care.remove(one, await care.objects(one));
});

describe('the care of an engine', () => {
  it('lists what a farm has, and removes what it is told, nothing of others', async () => {
    const all = await care.objects(farm);
    const of = (worker: string) => all.filter((object) => object.worker === worker);
    expect(of(dead.worker).map(({ kind }) => kind)).toEqual(['container', 'volume', 'network']);
    expect(of(live.worker)).toHaveLength(3);
    expect(of(dead.worker)[0]).toMatchObject({ role: 'step', build: 7 });
    const hours = (Date.parse(of(dead.worker)[0]?.expires ?? '') - Date.now()) / 3600_000;
    expect(Math.round(hours)).toBe(48);
    const others = await care.objects(elsewhere.farm);
    const removed = await care.remove(farm, [...of(dead.worker), ...others]);
    expect(removed).toEqual(of(dead.worker).map(({ kind, id }) => ({ kind, id })));
    expect(await care.objects(farm)).toEqual(of(live.worker));
    expect(await care.objects(elsewhere.farm)).toEqual(others);
  });

  it('says why something stays', async () => {
    const volume = (await care.objects(farm)).find(({ kind }) => kind === 'volume');
    const [result] = await care.remove(farm, volume ? [volume] : []);
    expect(result?.problem).toContain('in use');
  });

  it('is asked about the engine', async () => {
    const found = await care.examine();
    const { Version } = await engine.version();
    expect(found[0]?.text).toContain(Version);
    expect(found.filter(({ status }) => status === 'fail')).toEqual([]);
  });

  it('says how to get an engine when there is none', async () => {
    const none = engineCare({ host: 'unix:///nowhere.sock' });
    expect(await none.examine()).toEqual([
      {
        check: 'engine',
        status: 'fail',
        text: 'no Docker Engine answers at unix:///nowhere.sock (ENOENT)',
        mend: expect.stringContaining('systemctl start docker'),
      },
    ]);
    expect(await none.root()).toBeUndefined();
    await expect(none.objects(farm)).rejects.toMatchObject({ code: 'engine-unavailable' });
  });
});

it('warns of what an engine lacks', async () => {
  const poor = {
    info: async () => ({
      Driver: 'vfs',
      MemoryLimit: false,
      SwapLimit: false,
      PidsLimit: false,
      OSType: 'linux',
    }),
    version: async () => ({ Version: '19.03.15' }),
  };
  const found = await examineEngine(poor as never, undefined);
  expect(found.map(({ status, mend }) => [status, mend])).toEqual([
    ['warn', 'upgrade the engine'],
    ['warn', expect.stringContaining('overlay2')],
    ['fail', expect.stringContaining('cgroup_enable=memory')],
    ['warn', expect.stringContaining('pids')],
  ]);
});
