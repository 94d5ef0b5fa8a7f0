/** Results, worst first. `failure` is the code's fault, `exception` the infrastructure's. */
export const RESULTS = [
  'cancelled',
  'retry',
  'exception',
  'failure',
  'warnings',
  'success',
  'skipped',
] as const;
export type Result = (typeof RESULTS)[number];

/** The worse of two results. */
export function worse(a: Result, b: Result): Result {
  return RESULTS.indexOf(a) <= RESULTS.indexOf(b) ? a : b;
}

/** The result of a build from those of its steps. A build of only skipped steps, or of none, is a success. */
export function combine(results: readonly Result[]): Result {
  const worst = results.reduce(worse, 'skipped');
  return worst === 'skipped' ? 'success' : worst;
}
