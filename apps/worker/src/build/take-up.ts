import type { PlannedStep, Result } from '@impgem/pipeline';
import type { Reason } from '@impgem/protocol';
import { FarmError } from '@impgem/kit';
import type { Launch, Progress } from '../spool/index.js';
import type { Ending } from './stop.js';

/** What an earlier process of this worker left of a build. */
export interface Earlier {
  /** The build's zero of time, in milliseconds since the Unix epoch. */
  startedAt: number;
  progress: Progress;
  launch?: Launch;
}

/**
 * What the workspace of a build that is taken up must be: `kept` when steps have worked in it, `clean` when all
 * that was done there begins anew.
 */
export type WorkspaceNeed = 'kept' | 'clean' | { lost: string };

/**
 * Decides that. A checkout that was not whole begins anew in a clean workspace; so does everything when nothing was
 * done yet. A note of a launch behind the step that the journal knows of means that the journal has lost its end,
 * so that nobody knows what ran.
 */
export function workspaceNeed(
  { progress: { endings, open }, launch }: Earlier,
  steps: readonly Pick<PlannedStep, 'kind'>[],
): WorkspaceNeed {
  const last = open ? endings.length : endings.length - 1;
  if (launch && launch.step > last) return { lost: 'its journal has lost its end' };
  // A checkout is the first step, if there is one.
  if (endings.length > 0) return 'kept';
  if (!open) return 'clean';
  if (steps[0]?.kind === 'checkout') return open.revision === undefined ? 'clean' : 'kept';
  return launch ? 'kept' : 'clean';
}

/** The ending of what cannot be taken up: another attempt is to do it. */
export function lostEnding(why: string): Ending & { reason: Reason; result: Result } {
  const message = `the worker was restarted, and ${why}`;
  return { result: 'retry', reason: { code: 'worker-lost', message } };
}

/** The same for what an executor says; other troubles of it are what they always are. */
export function endingOfLoss(error: unknown): Ending | undefined {
  if (error instanceof FarmError && error.code === 'worker-lost') return lostEnding(error.message);
  return undefined;
}
