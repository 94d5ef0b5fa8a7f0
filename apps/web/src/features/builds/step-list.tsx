import type { Step } from '@impgem/client';
import { formatCount } from '../../lib/format.js';
import { StandingIcon, standingOf } from '../../ui/result.js';
import { Took } from '../../ui/time.js';
import styles from './builds.module.css';

export function StepList({
  steps,
  chosen,
  onChoose,
}: {
  steps: Step[];
  chosen: number | undefined;
  onChoose: (index: number) => void;
}) {
  return (
    <nav aria-label="Steps" className={styles.steps}>
      <ol>
        {steps.map((step) => (
          <li key={step.index}>
            <button
              type="button"
              className={styles.step}
              aria-current={step.index === chosen ? 'step' : undefined}
              onClick={() => onChoose(step.index)}
            >
              <StandingIcon standing={standingOf(step)} />
              <span className={styles.stepName}>{step.name}</span>
              <span className={styles.stepTook}>
                <Took start={step.startedAt} finish={step.finishedAt} />
              </span>
              {noteOf(step) && <span className={styles.stepNote}>{noteOf(step)}</span>}
            </button>
          </li>
        ))}
      </ol>
    </nav>
  );
}

/** Why it ended otherwise than well; else how much it said, once it is long. */
function noteOf(step: Step): string | undefined {
  if (step.reason && step.result !== 'success')
    return step.exitCode !== null && !step.reason.message.includes(String(step.exitCode))
      ? `${step.reason.message} (exit ${step.exitCode})`
      : step.reason.message;
  if (step.exitCode) return `exit ${step.exitCode}`;
  return step.log.lines >= 10_000 ? `${formatCount(step.log.lines)} lines` : undefined;
}
