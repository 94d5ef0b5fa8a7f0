/**
 * Why a step or a build ended otherwise than by its own exit. Shown to people with a sentence of their own;
 * the code is for programs. `result` is what a step that ends so becomes. After one that is `retried` another
 * attempt may help, maybe on another worker; a missing image or source would only be missing three times.
 */
export const REASONS = {
  'exit-code': { result: 'failure', title: 'the command failed' },
  'out-of-memory': { result: 'failure', title: 'killed by its memory limit' },
  'disk-full': { result: 'failure', title: "it was about to fill its worker's disk" },
  'step-timeout': { result: 'failure', title: 'the step took longer than its timeout' },
  'silence-timeout': { result: 'failure', title: 'the step said nothing for too long' },
  'build-timeout': { result: 'failure', title: 'the build took longer than its timeout' },
  'output-limit': { result: 'failure', title: 'it wrote more output than the farm takes' },
  'journal-limit': { result: 'failure', title: 'it told of more than the farm takes' },
  unstorable: { result: 'exception', title: 'what it told cannot be stored' },
  cancelled: { result: 'cancelled', title: 'cancelled' },
  'image-unavailable': { result: 'exception', title: 'the image cannot be had' },
  'image-unusable': { result: 'exception', title: 'no step can run in the image' },
  'source-unavailable': { result: 'exception', title: 'the source cannot be had' },
  'engine-unavailable': {
    result: 'exception',
    retried: true,
    title: 'the container engine does not answer',
  },
  'engine-error': { result: 'exception', retried: true, title: 'the container engine refused' },
  'workspace-error': { result: 'exception', title: 'the workspace cannot be used' },
  policy: { result: 'exception', title: "not allowed by the worker's policy" },
  'artifact-missing': { result: 'failure', title: 'an artifact pattern matched nothing' },
  'artifact-refused': { result: 'failure', title: 'an artifact cannot be taken' },
  'storage-full': { result: 'exception', title: 'the master has no room for it' },
  'worker-error': {
    result: 'exception',
    retried: true,
    title: 'the worker met an error of its own',
  },
  'master-error': { result: 'exception', title: 'the master met an error of its own' },
  'worker-lost': { result: 'retry', title: 'the worker went away' },
  'worker-busy': { result: 'retry', title: 'the worker had no room' },
  draining: { result: 'retry', title: 'the worker is about to stop' },
  stale: { result: 'retry', title: 'the build was handed to another worker' },
  revoked: { result: 'retry', title: "the worker's credential was revoked" },
  'build-overdue': {
    result: 'exception',
    retried: true,
    title: 'the worker did not end the build at its timeout',
  },
} as const;

export type ReasonCode = keyof typeof REASONS;

/** Whether an attempt that the infrastructure spoiled so is worth another. */
export function isRetried(code: string | undefined): boolean {
  if (code === undefined || !Object.hasOwn(REASONS, code)) return false;
  const { result, retried } = REASONS[code as ReasonCode] as { result: string; retried?: boolean };
  return retried === true || result === 'retry';
}
