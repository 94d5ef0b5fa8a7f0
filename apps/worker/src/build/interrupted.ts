import type { BuildEvent, Reason } from '@impgem/protocol';
import type { Journal } from '../spool/index.js';

const REASON: Reason = { code: 'worker-error', message: 'the worker was restarted' };

/**
 * Ends the journal of a build that an earlier process left in the middle, so that nobody waits for it: the open
 * step and the build end with `retry`, the steps behind are skipped. What the open step wrote after the last
 * record is unknown, so its log is told without checksums.
 */
export async function endInterrupted(journal: Journal): Promise<void> {
  const { started, steps, open, logBytes } = journal.progress;
  const count = journal.meta.assign.plan.steps.length;
  const atMs = Math.max(0, Date.now() - journal.meta.startedAt);
  const record = async (event: BuildEvent): Promise<unknown> =>
    journal.append({ kind: 'event', atMs, event });
  if (!started) await record({ kind: 'build.started' });
  for (let step = steps; step < count; step += 1) {
    const ending =
      open && step === steps
        ? { result: 'retry' as const, reason: REASON, log: { bytes: logBytes, sha256: {} } }
        : { result: 'skipped' as const, log: { bytes: 0, sha256: {} } };
    await record({ kind: 'step.finished', step, ...ending });
  }
  await record({ kind: 'build.finished', result: 'retry', reason: REASON });
}
