import type { BuildDetail, Step } from '@impgem/client';
import { Button, Tabs } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { api } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { Loading, Page } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import { StandingIcon, standingLabel, standingOf } from '../../ui/result.js';
import { Artifacts } from './artifacts.js';
import { BuildFacts } from './build-facts.js';
import styles from './builds.module.css';
import { CancelDialog } from './cancel-dialog.js';
import { Definition } from './definition.js';
import { chosenStep } from './chosen-step.js';
import { StepList } from './step-list.js';

export interface BuildPageProps {
  id: number;
  /** The step in the address; absent: the page chooses, and follows the running one. */
  step: number | undefined;
  onStep: (index: number) => void;
  mayTrigger: boolean;
  onRunAgain: (build: BuildDetail) => void;
  /** Shows the log of a step. */
  renderLog: (build: BuildDetail, step: Step) => ReactNode;
}

export function BuildPage(props: BuildPageProps) {
  const query = useQuery({
    queryKey: keys.build(props.id),
    queryFn: () => api.builds.get(props.id),
  });
  const build = query.data;
  if (build) return <OneBuild {...props} build={build} />;
  return (
    <Page title={`Build ${props.id}`}>
      {query.error && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending && <Loading what="the build" />}
    </Page>
  );
}

function OneBuild({ build, ...props }: BuildPageProps & { build: BuildDetail }) {
  const [cancelling, setCancelling] = useState(false);
  const standing = standingOf(build);
  const step = chosenStep(build.steps, props.step);
  return (
    <Page
      wide
      title={`${standingLabel(standing)}: ${build.builder} #${build.number}`}
      heading={
        <span className={styles.heading}>
          <StandingIcon standing={standing} size={22} />
          <span>
            <Link to="/builders/$name" params={{ name: build.builder }}>
              {build.builder}
            </Link>{' '}
            #{build.number}
          </span>
          <span className={`${styles.standing} ${styles[standing] ?? ''}`} aria-hidden="true">
            {standingLabel(standing)}
          </span>
        </span>
      }
      actions={
        props.mayTrigger && (
          <>
            <Button size="sm" variant="default" onClick={() => props.onRunAgain(build)}>
              Run again
            </Button>
            {build.state !== 'finished' && (
              <Button
                size="sm"
                color="red"
                variant="outline"
                disabled={build.state === 'cancelling'}
                onClick={() => setCancelling(true)}
              >
                {build.state === 'cancelling' ? 'Cancelling…' : 'Cancel build'}
              </Button>
            )}
          </>
        )
      }
    >
      {cancelling && build.state === 'running' && (
        <CancelDialog build={build} onClose={() => setCancelling(false)} />
      )}
      <BuildFacts build={build} />
      <BuildTabs build={build} step={step} onStep={props.onStep} renderLog={props.renderLog} />
    </Page>
  );
}

function BuildTabs({
  build,
  step,
  onStep,
  renderLog,
}: Pick<BuildPageProps, 'onStep' | 'renderLog'> & {
  build: BuildDetail;
  step: Step | undefined;
}) {
  return (
    <Tabs defaultValue="log" keepMounted={false} classNames={{ root: styles.tabs ?? '' }}>
      <Tabs.List>
        <Tabs.Tab value="log">Steps and log</Tabs.Tab>
        <Tabs.Tab value="artifacts">
          Artifacts <span className={styles.count}>{build.artifacts.length}</span>
        </Tabs.Tab>
        <Tabs.Tab value="definition">Definition</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="log" className={styles.work}>
        <StepList steps={build.steps} chosen={step?.index} onChoose={onStep} />
        <div className={styles.logSide}>
          {step ? renderLog(build, step) : <Loading what="the steps" />}
        </div>
      </Tabs.Panel>
      <Tabs.Panel value="artifacts" className={styles.panel}>
        <Artifacts build={build} />
      </Tabs.Panel>
      <Tabs.Panel value="definition" className={styles.panel}>
        <Definition build={build} />
      </Tabs.Panel>
    </Tabs>
  );
}
