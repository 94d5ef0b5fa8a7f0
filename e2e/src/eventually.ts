import { setTimeout as sleep } from 'node:timers/promises';

export interface Wait {
  timeoutMs?: number;
  /** For the error: what was waited for. */
  what?: string;
  /** For the error: what was seen last. */
  saw?: () => string;
}

const SOONEST_MS = 20;
const LATEST_MS = 200;

/**
 * Asks again until the answer is neither undefined nor false, less often the longer it takes; the error tells what was
 * seen last.
 */
export async function eventually<T>(
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, what = 'the condition', saw = () => '' }: Wait = {},
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (let pause = SOONEST_MS; ; pause = Math.min(pause * 1.25, LATEST_MS)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms\n${saw()}`);
    await sleep(pause);
  }
}
