import type { Builder } from '@impgem/client';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { Labels, Loading, Page } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import { QueueCounts } from './builder-list.js';
import styles from './builders.module.css';

/** What a builder is; `children` are its queue and its builds. */
export function BuilderPage({
  name,
  onTrigger,
  children,
}: {
  name: string;
  onTrigger: (() => void) | undefined;
  children: ReactNode;
}) {
  const query = useQuery({ queryKey: keys.builder(name), queryFn: () => api.builders.get(name) });
  return (
    <Page
      title={name}
      actions={query.data && onTrigger && <Button onClick={onTrigger}>Trigger build</Button>}
    >
      {query.error && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending && <Loading what="the builder" />}
      {query.data && (
        <>
          <Facts builder={query.data} />
          {children}
        </>
      )}
    </Page>
  );
}

function Facts({ builder }: { builder: Builder }) {
  return (
    <>
      {builder.description && <p className={styles.description}>{builder.description}</p>}
      <dl className={styles.facts}>
        {builder.source && (
          <Fact name="Source">
            <code>{builder.source.git}</code>
            {builder.source.ref && <span className="dim"> at {builder.source.ref}</span>}
          </Fact>
        )}
        {builder.image && (
          <Fact name="Image">
            <code>{builder.image}</code>
          </Fact>
        )}
        <Fact name="Runs on">
          {builder.labels.length > 0 ? <Labels labels={builder.labels} /> : 'any worker'}
        </Fact>
        <Fact name="Steps">{builder.steps.map((step) => step.name).join(' → ')}</Fact>
        <Fact name="Queue">
          <QueueCounts running={builder.running} pending={builder.pending} />
        </Fact>
        <Fact name="Farm file">version {builder.farmVersion}</Fact>
      </dl>
    </>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
