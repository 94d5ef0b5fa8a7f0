import type { StepSpec } from './executor.js';

/**
 * What the shell gets. A step whose output is merged has one pipe for both streams from its first command on: no reader
 * of two could tell the order. On the first line, so that the shell's messages count lines as people do.
 */
export const shellText = ({ run, merged }: Pick<StepSpec, 'run' | 'merged'>): string =>
  merged ? `exec 2>&1; ${run}` : run;
