/**
 * When a worker is given work again after something went wrong with it. Three brakes, each with a bound:
 *
 * - a request waits before the same worker may have it again (`HOLD_BACK_MS`, by how often that happened); any other
 *   worker may have it at once;
 * - a request that workers refuse ends after `REFUSALS_MOST` of them, as it does after its attempts;
 * - a worker is given nothing for a while after each strike (`PAUSES_MS`). From `QUARANTINE_STRIKES` in a row on it is
 *   in quarantine, and afterwards is given one build at a time until one of them ends well, which clears it.
 *
 * A strike is an attempt that ended by the worker's own fault. Those that were handed out before the last strike are
 * none: a machine that loses power loses all its builds at once.
 */
import type { Result } from '@impgem/pipeline';
import type { ReasonCode } from './reasons.js';

/** Hand-outs of one request that workers may refuse; with the last of them the request ends. */
export const REFUSALS_MOST = 10;

/** For how long a request is not given to the same worker again: after the first time, the second, and so on. */
export const HOLD_BACK_MS: readonly number[] = [5_000, 30_000, 120_000, 600_000];

/** Strikes in a row from which on a worker is in quarantine. */
export const QUARANTINE_STRIKES = 3;

/** For how long a worker is given nothing after its first strike in a row, its second, and so on: doubles up to an hour. */
export const PAUSES_MS: readonly number[] = [
  5_000,
  15_000,
  ...Array.from({ length: 7 }, (_, n) => Math.min(3_600_000, 60_000 * 2 ** n)),
];

/** An attempt that the infrastructure spoils within so many milliseconds ended "in seconds". */
export const EARLY_MS = 30_000;

/** The one for the nth time, the first of which is 1; the last one for all that come later. */
export const nthOf = (list: readonly number[], n: number): number =>
  list[Math.min(n, list.length) - 1] ?? 0;

/**
 * What the end of an attempt says of its worker: `good` clears its strikes, `bad` is one, `bad-if-early` is one when
 * it came within `EARLY_MS` of the hand-out.
 */
export type Mark = 'good' | 'bad' | 'bad-if-early';

/**
 * What may as well be the fault of the builder, of the master or of nobody. A registry or a repository that one worker
 * cannot reach looks like a slip of the pen in the farm file.
 */
const NOT_THE_WORKERS: ReadonlySet<string> = new Set<ReasonCode>([
  'image-unavailable',
  'source-unavailable',
  'policy',
  'storage-full',
  'revoked',
]);
/** However long it had the build. */
const ALWAYS: ReadonlySet<string> = new Set<ReasonCode>(['worker-lost', 'build-overdue']);

/** A failure is the code's: then the worker has done its part. */
export function markOf(end: {
  result: Result;
  reason?: { code: string } | undefined;
  cancel?: object | undefined;
  refusals?: number | undefined;
}): Mark | null {
  const { result, reason, cancel, refusals } = end;
  if (cancel) return null;
  if (result === 'success' || result === 'warnings' || result === 'failure') return 'good';
  if (result !== 'retry' && result !== 'exception') return null;
  if (refusals !== undefined) return 'bad';
  const code = reason?.code ?? '';
  if (NOT_THE_WORKERS.has(code)) return null;
  return ALWAYS.has(code) ? 'bad' : 'bad-if-early';
}
