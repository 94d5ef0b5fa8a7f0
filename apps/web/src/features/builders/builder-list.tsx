import type { Builder } from '@impgem/client';
import { Button } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api, pageAfter } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { CopyBlock } from '../../ui/copy.js';
import { Empty, Loading, More, Page } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import { StandingMark, standingOf } from '../../ui/result.js';
import table from '../../ui/table.module.css';
import { Ago, Took } from '../../ui/time.js';
import styles from './builders.module.css';

const FIRST_FARM = `builders:
  hello:
    image: debian:bookworm-slim
    steps:
      - name: greet
        run: echo hello`;

export function BuilderList({
  mayTrigger,
  onTrigger,
}: {
  mayTrigger: boolean;
  onTrigger: (builder: string) => void;
}) {
  const query = useInfiniteQuery({
    queryKey: keys.builders,
    queryFn: ({ pageParam }) => api.builders.list(pageAfter(pageParam, 200)),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const builders = query.data?.pages.flatMap((page) => page.items);
  return (
    <Page title="Builders">
      {query.error && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending && <Loading what="builders" />}
      {builders?.length === 0 && <NoBuilders />}
      {builders && builders.length > 0 && (
        <div className={table.frame}>
          <table className={table.table}>
            <thead>
              <tr>
                <th>Builder</th>
                <th>Last build</th>
                <th>Took</th>
                <th>When</th>
                <th>Queue</th>
                <th>
                  <span className={styles.hiddenLabel}>Trigger</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {builders.map((builder) => (
                <BuilderRow
                  key={builder.name}
                  builder={builder}
                  onTrigger={mayTrigger ? () => onTrigger(builder.name) : undefined}
                />
              ))}
            </tbody>
          </table>
          <More query={query} />
        </div>
      )}
    </Page>
  );
}

function BuilderRow({
  builder,
  onTrigger,
}: {
  builder: Builder;
  onTrigger: (() => void) | undefined;
}) {
  const last = builder.lastBuild;
  return (
    <tr>
      <td>
        <div className={styles.name}>
          <Link className={table.main} to="/builders/$name" params={{ name: builder.name }}>
            {builder.name}
          </Link>
          {builder.description && <div className={table.sub}>{builder.description}</div>}
        </div>
      </td>
      <td data-label="Last build">
        {last ? (
          <Link className={styles.last} to="/builds/$id" params={{ id: String(last.id) }}>
            <StandingMark standing={standingOf(last)} /> <span className="dim">#{last.number}</span>
          </Link>
        ) : (
          <span className="dim">no build yet</span>
        )}
      </td>
      <td data-label="Took">{last && <Took start={last.startedAt} finish={last.finishedAt} />}</td>
      <td data-label="When">{last && <Ago at={last.finishedAt ?? last.createdAt} />}</td>
      <td data-label="Queue">
        <QueueCounts running={builder.running} pending={builder.pending} />
      </td>
      <td className={table.end}>
        {onTrigger && (
          <Button
            size="compact-sm"
            variant="light"
            onClick={onTrigger}
            aria-label={`Trigger ${builder.name}`}
          >
            Trigger
          </Button>
        )}
      </td>
    </tr>
  );
}

export function QueueCounts({ running, pending }: { running: number; pending: number }) {
  if (running === 0 && pending === 0) return <span className="dim">idle</span>;
  return (
    <span className="nowrap number">
      {running > 0 && <span className={styles.running}>{running} running</span>}
      {running > 0 && pending > 0 && ', '}
      {pending > 0 && <span>{pending} pending</span>}
    </span>
  );
}

function NoBuilders() {
  return (
    <Empty title="No builders yet">
      <p>
        A builder is a named recipe in the farm file. Write one, for example this{' '}
        <code>farm.yml</code>, and apply it:
      </p>
      <CopyBlock label="farm file" text={FIRST_FARM} />
      <CopyBlock label="command" text="impgem apply farm.yml" />
    </Empty>
  );
}
