import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildRequest, BuildDetail, Page, Worker } from '@impgem/client';
import { eventually, patient } from '@impgem/testkit';
import { startFarm, type Farm } from './farm.js';

const LINES = 80;
const counted = Array.from({ length: LINES }, (_, n) => `${n + 1}\n`).join('');
const COUNT = `
builders:
  count:
    image: busybox:1.37
    steps:
      - name: count
        run: i=0; while [ $i -lt ${LINES} ]; do i=$((i + 1)); echo $i; sleep 0.1; done
`;

describe('a worker that is frozen for longer than its farm bears', () => {
  let farm: Farm;
  beforeAll(async () => {
    farm = await startFarm({
      workers: 2,
      masterEnv: { IMPGEM_LOST_AFTER_S: String(patient(9)) },
      workerEnv: { IMPGEM_WORKER_SLOTS: '1' },
    });
    await farm.apply(COUNT);
  });
  afterEach(() => {
    for (const worker of farm.workers) worker.kill('SIGCONT');
  });
  afterAll(() => farm?.stop());

  const detail = (id: number) => farm.api<BuildDetail>('GET', `/builds/${id}`);
  const stdout = async (id: number) => (await farm.log(id, 0, '?stream=stdout')).toString();

  it.each(['while another runs its build', 'after another has finished it'])(
    'changes nothing when it wakes %s',
    async (when) => {
      const { id } = await farm.request('count');
      const first = await farm.untilBuild(id, ['running']);
      const frozen = farm.workers.find(({ name }) => name === first.worker);
      await eventually(async () => ((await detail(first.id)).steps[0]?.log.lines ?? 0) > 10);
      frozen?.kill('SIGSTOP');
      const attempts = async () =>
        (await farm.api<BuildRequest>('GET', `/build-requests/${id}`)).builds;
      await eventually(async () => (await attempts()).length === 2, {
        what: 'another attempt',
        saw: () => farm.told(),
      });
      if (when.startsWith('after')) await farm.untilBuild(id);
      const given = await detail(first.id);
      expect(given).toMatchObject({ state: 'finished', result: 'retry' });
      frozen?.kill('SIGCONT');
      const build = await farm.untilBuild(id);
      expect(build).toMatchObject({ result: 'success', attempt: 2 });
      expect(build.worker).not.toBe(first.worker);
      // it has said what it had to say, and has nothing left
      await eventually(async () => {
        const { items } = await farm.api<Page<Worker>>('GET', '/workers');
        return items.every(({ state, running }) => state === 'online' && running === 0);
      });
      const after = await detail(first.id);
      expect({ ...after, steps: [] }).toEqual({ ...given, steps: [] });
      expect(after.steps.map(({ result }) => result)).toEqual(
        given.steps.map(({ result }) => result),
      );
      expect(await detail(build.id)).toEqual(build);
      expect(await stdout(build.id)).toBe(counted);
      expect(counted.startsWith(await stdout(first.id))).toBe(true);
      expect(await attempts()).toHaveLength(2);
    },
  );
});
