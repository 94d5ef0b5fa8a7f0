import type { Result } from '@impgem/pipeline';
import type { Reason } from '@impgem/protocol';

/** How an attempt ends; see `closing.ts` of the master's scheduling, whose rules these are. */
export interface Ending {
  result: Result;
  reason: Reason | null;
  cancel: Reason | null;
  attempts: number;
  counted: boolean;
  lost: boolean;
}

export interface Closing {
  result: Result;
  reason: Reason | null;
  requeue: boolean;
  counted: 0 | 1;
  lost: boolean;
}

export const MAX_ATTEMPTS = 3;
const RETRIED_REASONS = new Set(['engine-unavailable', 'worker-error']);

export function decideClosing(ending: Ending): Closing {
  const { result, reason, cancel, attempts } = ending;
  const counted = ending.counted ? 1 : 0;
  const infrastructure = result === 'retry' || result === 'exception';
  if (cancel && (infrastructure || result === 'cancelled'))
    return { result: 'cancelled', reason: cancel, requeue: false, counted, lost: false };
  const mayHelp = result === 'retry' || (infrastructure && RETRIED_REASONS.has(reason?.code ?? ''));
  if (!mayHelp) return { result, reason, requeue: false, counted, lost: false };
  if (attempts + counted < MAX_ATTEMPTS)
    return { result, reason, requeue: true, counted, lost: ending.lost };
  return { result: 'exception', reason, requeue: false, counted, lost: false };
}
