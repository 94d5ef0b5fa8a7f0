import { afterEach, beforeEach, expect, it } from '@jest/globals';
import type { RetentionItem, RetentionReport } from '@impgem/client';
import { runLine } from '../testing/run-line.js';
import { ScriptedMaster } from '../testing/scripted-master.js';

const ITEM: RetentionItem = {
  builder: 'hello',
  builds: 0,
  buildsThrough: null,
  logs: 2,
  logsThrough: 7,
  logBytes: 1024,
  artifacts: 3,
  artifactsThrough: 9,
  artifactBytes: 2048,
};
const report = (more: boolean, builders: RetentionItem[] = [ITEM]): RetentionReport => ({
  builders,
  bytes: 3072,
  more,
  disk: { freeBytes: 1024 ** 3, freeInodes: null, low: false },
});

let master: ScriptedMaster;
let url: string;
beforeEach(async () => {
  master = new ScriptedMaster();
  url = await master.start();
});
afterEach(() => master.stop());

async function impgem(...argv: string[]) {
  const { said, code } = runLine(['--url', url, '--token', 'igt_a_b', ...argv]);
  return { code: await code, ...said };
}

it('lists what would go, and asks for nothing else', async () => {
  master.answers.set('GET /retention', report(false));
  const { code, out, err } = await impgem('retention', '--dry-run');
  expect(code).toBe(0);
  expect(out).toMatch(/hello +- +2, 1.0 KiB \(up to #7\) +3, 2.0 KiB \(up to #9\)/);
  expect(err).toContain('3.0 KiB would go');
  expect(master.asked.map(({ call }) => call)).toEqual(['GET /retention']);
});

it('goes on while there is more, and adds it up', async () => {
  master.answers.set('POST /retention', report(true));
  const running = impgem('--json', 'retention');
  while (master.asked.length < 2) await new Promise((done) => setTimeout(done, 2));
  master.answers.set('POST /retention', report(false, []));
  const { code, out } = await running;
  expect(code).toBe(0);
  const whole = JSON.parse(out) as RetentionReport;
  const times = master.asked.length - 1;
  expect(whole).toMatchObject({ more: false, bytes: 3072 * times });
  expect(whole.builders).toMatchObject([{ logs: 2 * times, artifacts: 3 * times, logsThrough: 7 }]);
});
