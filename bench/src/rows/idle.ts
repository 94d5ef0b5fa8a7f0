/** What a master costs that has nothing to do: idle. */
import { setTimeout as sleep } from 'node:timers/promises';
import { withFarm } from '../farm.js';
import { rssBytes } from '@impgem/e2e';
import { cpuPercent } from '../process.js';
import type { Row } from '../row.js';
import { BUILDERS } from './builds.js';

export const idle: Row = (size, report) => {
  const { settleS, idleS } = {
    full: { settleS: 30, idleS: 60 },
    small: { settleS: 1, idleS: 3 },
  }[size];
  return withFarm({ executor: 'host', builders: BUILDERS }, async (farm) => {
    const { pid } = farm.farm.master;
    // it has worked before
    await farm.builds.inFlight('one', 20, 2);
    await sleep(settleS * 1000);
    const cpu = await cpuPercent(pid, idleS);
    report('idle', { value: rssBytes(pid) / 1e6 });
    report('idle.cpu', { value: cpu });
  });
};
