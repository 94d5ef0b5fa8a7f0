import { hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * How many times slower this machine is than an ordinary one (`tools/patience.mjs` measures it); 1 where nobody has
 * measured. Jest's own limit for a test is multiplied by it as well.
 */
export const PATIENCE = Math.max(1, Number(process.env['IMPGEM_TEST_PATIENCE']) || 1);

/**
 * What a test may wait on this machine, where `ms` would do on an ordinary one. For every limit that a test sets: of
 * its own waits, and of the product where it is set shorter than by default (leases, silence, answers).
 */
export const patient = (ms: number): number => Math.ceil(ms * PATIENCE);

export interface Wait {
  /** On an ordinary machine. */
  timeoutMs?: number;
  /** For the error: what was waited for. */
  what?: string;
  /** For the error: what was seen last. */
  saw?: () => string;
}

const SOONEST_MS = 5;
const LATEST_MS = 200;

const nowMs = () => Number(hrtime.bigint() / 1_000_000n);

/**
 * Asks again until the answer is neither undefined nor false, less often the longer it takes; the error tells what was
 * seen last.
 */
export async function eventually<T>(
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, what = 'the condition', saw = () => '' }: Wait = {},
): Promise<T> {
  const limitMs = patient(timeoutMs);
  const end = nowMs() + limitMs;
  for (let pause = SOONEST_MS; ; pause = Math.min(pause * 1.25, LATEST_MS)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (nowMs() > end) throw new Error(`${what} did not come within ${limitMs} ms\n${saw()}`);
    await sleep(pause);
  }
}
