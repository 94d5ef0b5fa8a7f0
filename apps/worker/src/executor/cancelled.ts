/** What executors do about a cancel before a step runs. */
import { FarmError } from '@impgem/kit';
import type { RunningStep } from './executor.js';

export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new FarmError('cancelled', 'cancelled before the step started');
}

/** Gives a step back that has just started; one that nobody wants any more is stopped and removed instead. Throws `cancelled`. */
export async function unlessCancelled<Step extends RunningStep & { removed: Promise<void> }>(
  step: Step,
  workspace: { disposed: boolean },
  signal: AbortSignal,
): Promise<Step> {
  if (!signal.aborted && !workspace.disposed) return step;
  await step.stop(0);
  step.discard();
  await step.removed;
  throw new FarmError('cancelled', 'cancelled while the step started');
}
