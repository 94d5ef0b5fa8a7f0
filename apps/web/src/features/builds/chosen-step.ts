import type { Step } from '@impgem/client';

/**
 * The step whose log is shown: the one that was asked for; else the one that runs; else the first that did not go
 * well; else the last `run` step that ended, which is what people come for; else the first.
 */
export function chosenStep(steps: readonly Step[], asked: number | undefined): Step | undefined {
  const wanted = asked === undefined ? undefined : steps.find((step) => step.index === asked);
  return (
    wanted ??
    steps.find((step) => step.state === 'running') ??
    steps.find((step) => step.state === 'finished' && isBad(step)) ??
    steps.findLast((step) => step.state === 'finished' && step.kind === 'run') ??
    steps.findLast((step) => step.state === 'finished') ??
    steps[0]
  );
}

function isBad(step: Step): boolean {
  return step.result !== 'success' && step.result !== 'skipped' && step.result !== 'warnings';
}
