import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';

const MAIN = fileURLToPath(new URL('../../dist/sim/main.js', import.meta.url));

function sim(...args: string[]): Promise<{ code: number; lines: string[] }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { maxBuffer: 64 << 20 }, (error, out, err) => {
      const lines = `${out}${err}`.trimEnd().split('\n');
      resolve({ code: error ? Number(error.code) : 0, lines });
    });
  });
}

/** Each mistake that can be planted, and what finds it. */
const FOUND_BY = {
  'ack-before-commit': /^ack after commit/,
  'credit-kept': /^nothing waits .*credit/,
  'epoch-not-raised': /^one holder .*handed out twice/,
  // what is taken in spite of its epoch also comes behind the end of a log
  'epoch-unchecked': /^(stale epoch|no misuse .*has ended)/,
  'lease-clock-runs': /^lease time/,
  'overdue-kept': /^nothing waits .*claimed/,
  'release-forgotten': /^nothing waits/,
  'retry-unbounded': /^(one result .*attempts|nothing waits)/,
  'rewind-too-little': /^nothing waits/,
  'runs-twice': /^(one holder .*second time|nothing waits)/,
  'stop-ignored': /^nothing waits .*holds/,
  'trim-too-far': /^nothing lost/,
} satisfies Record<string, RegExp>;

/** Seeds before these do not find it, as things are; only time is lost when they do not either. */
const BEGIN_AT: Partial<Record<string, number>> = {
  'epoch-unchecked': 80,
  'runs-twice': 50,
  'stop-ignored': 25,
};

describe('the simulation', () => {
  it('keeps all invariants for 120 seeds', async () => {
    const { code, lines } = await sim('--seeds', '120');
    expect(lines.at(-1)).toBe('120 seeds passed, 0 failed');
    expect(code).toBe(0);
  });

  it('knows a flaw for each invariant, and each flaw is known here', async () => {
    const { lines } = await sim('--flaws');
    expect(lines).toEqual(Object.keys(FOUND_BY));
    const { code, lines: refusal } = await sim('--seeds', '1', '--flaw', 'unheard-of');
    expect(refusal.join()).toContain('no flaw unheard-of; there are ack-before-commit');
    expect(code).toBe(1);
  });

  it.concurrent.each(Object.entries(FOUND_BY))('finds %s within 1,000 seeds', async (flaw, how) => {
    const seeds = ['--seeds', '1000', '--seed', String(BEGIN_AT[flaw] ?? 1)];
    const { code, lines } = await sim(...seeds, '--bail', '--flaw', flaw);
    expect(lines.at(-1)).toMatch(/ seeds passed, 1 failed$/);
    expect(/^seed \d+: (.*)/.exec(lines[0] ?? '')?.[1]).toMatch(how);
    expect(code).toBe(1);
  });

  it('shows a failing seed again, with all that led to it', async () => {
    const flaw = ['--flaw', 'ack-before-commit'];
    const found = await sim('--seeds', '50', '--bail', ...flaw);
    const [failure = '', again = ''] = found.lines;
    const seed = /^seed (\d+):/.exec(failure)?.[1] ?? '';
    expect(again).toBe(`  again: npm run sim -- --seed ${seed} --flaw ack-before-commit`);
    const { code, lines } = await sim('--seed', seed, ...flaw);
    expect(lines.at(-2)).toBe(failure);
    expect(lines.at(-1)).toBe('0 seeds passed, 1 failed');
    expect(lines.join('\n')).toMatch(/worker-\d\.\d gets \{"type":"welcome"/);
    expect(code).toBe(1);
  });
});
