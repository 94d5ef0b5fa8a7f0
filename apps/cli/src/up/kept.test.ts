import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Child } from './child.js';
import { Kept } from './kept.js';

let folder: string;
let said: string[];
let kept: Kept;
let starts: number;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-kept-'));
  said = [];
  starts = 0;
});
afterEach(async () => {
  await kept.stop();
  await rm(folder, { recursive: true });
});

const never = new AbortController().signal;
const isUp = (line: string) => (line === 'up' ? true : undefined);
const RUNS = "console.error('up'); setInterval(() => {}, 1000)";

/** Runs the text that `program` gives for the start of that number, from 1. */
function keep(program: (start: number) => string, pace = { baseMs: 1, capMs: 4, wellMs: 60_000 }) {
  kept = new Kept({
    name: 'master',
    start: async () => {
      starts++;
      const file = join(folder, `program-${starts}.mjs`);
      await writeFile(file, program(starts));
      return new Child('master', file, {}, join(folder, 'logs', 'master.log'));
    },
    up: async (child, signal) => {
      await child.waitFor('up', { line: isUp }, { ms: 600_000, signal });
    },
    say: (line) => said.push(line),
    pace,
  });
  return kept;
}
/** Ends with the test's own limit. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(5);
}
const kill = () => process.kill(kept.child?.pid ?? 0, 'SIGKILL');

describe('a program that is kept running', () => {
  it('is started again when it ends by itself, and that is said', async () => {
    await keep(() => RUNS).begin(never);
    for (const times of [1, 2]) {
      kill();
      const isUp = () => said.filter((line) => line === 'the master is up again').length === times;
      await until(isUp);
    }
    expect(said[0]).toBe('the master ended by itself (SIGKILL); starting it again in 0.001 s');
    expect(said[2]).toBe('the master ended by itself (SIGKILL); starting it again in 0.002 s');
    expect(starts).toBe(3);
  });

  it('waits twice as long after each end, up to a bound, and tells why it does not come up', async () => {
    await keep((start) => (start === 1 ? RUNS : "console.error('no disk')")).begin(never);
    kill();
    await until(() => starts > 5);
    expect(said.slice(0, 5).map((text) => / in ([\d.]+) s$/.exec(text)?.[1])).toEqual([
      '0.001',
      '0.002',
      '0.004',
      '0.004',
      '0.004',
    ]);
    expect(said[1]).toContain('ended before it was up again (exit code 0); its log ends with');
    expect(said[1]).toContain('no disk');
  });

  it('counts anew after it was up for a good while', async () => {
    await keep(() => RUNS, { baseMs: 1, capMs: 4, wellMs: 0 }).begin(never);
    for (const times of [1, 2, 3]) {
      kill();
      await until(() => said.length === 2 * times);
    }
    expect(said.filter((line) => line.endsWith('in 0.001 s'))).toHaveLength(3);
  });

  it('is given up when it never came up', async () => {
    await expect(keep(() => "console.error('no port')").begin(never)).rejects.toThrow(/no port/);
    expect([starts, said]).toEqual([1, []]);
  });

  it('is not started again once it is stopped, also while it waits', async () => {
    await keep(() => RUNS, { baseMs: 3_600_000, capMs: 3_600_000, wellMs: 60_000 }).begin(never);
    kill();
    await until(() => said.length === 1);
    await kept.stop();
    expect([starts, said.length]).toEqual([1, 1]);
  });
});
