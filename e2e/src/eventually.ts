import { setTimeout as sleep } from 'node:timers/promises';

export interface Wait {
  timeoutMs?: number;
  /** For the error: what was waited for. */
  what?: string;
  /** For the error: what was seen last. */
  saw?: () => string;
}

/** Asks again until the answer is neither undefined nor false; the error tells what was seen last. */
export async function eventually<T>(
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, what = 'the condition', saw = () => '' }: Wait = {},
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms\n${saw()}`);
    await sleep(50);
  }
}
