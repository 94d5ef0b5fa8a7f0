import type { BuildRequest, Worker } from '@impgem/client';
import { Button } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useEffect } from 'react';
import { api } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { Empty, Labels, Loading, Page } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import { StandingMark, standingOf } from '../../ui/result.js';
import table from '../../ui/table.module.css';
import { Ago } from '../../ui/time.js';
import { waitingFor } from './waiting-for.js';

/** A wish in the queue. It waits here, and goes on to its build as soon as there is one. */
export function RequestPage({
  id,
  mayTrigger,
  onBuild,
}: {
  id: number;
  mayTrigger: boolean;
  /** Absent: stay. */
  onBuild: ((build: number) => void) | undefined;
}) {
  const query = useQuery({ queryKey: keys.request(id), queryFn: () => api.requests.get(id) });
  const request = query.data;
  const newest = request?.builds.at(-1)?.id;
  useEffect(() => {
    if (newest !== undefined) onBuild?.(newest);
  }, [newest, onBuild]);
  return (
    <Page
      title={`Request ${id}`}
      heading={
        request ? (
          <>
            Request {id} of{' '}
            <Link to="/builders/$name" params={{ name: request.builder }}>
              {request.builder}
            </Link>
          </>
        ) : undefined
      }
      actions={mayTrigger && request?.state === 'pending' && <CancelRequest request={request} />}
    >
      {query.error && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending && <Loading what="the request" />}
      {request && request.builds.length > 0 && <Attempts request={request} />}
      {request?.builds.length === 0 &&
        (request.state === 'pending' ? (
          <Waiting request={request} />
        ) : (
          <Empty title="Cancelled before a worker took it">
            <p>{request.reason}</p>
          </Empty>
        ))}
    </Page>
  );
}

function Waiting({ request }: { request: BuildRequest }) {
  const builder = useQuery({
    queryKey: keys.builder(request.builder),
    queryFn: () => api.builders.get(request.builder),
  });
  const workers = useQuery({
    queryKey: keys.workers,
    queryFn: async (): Promise<Worker[]> => (await api.workers.list({ limit: 200 })).items,
  });
  const labels = builder.data?.labels ?? [];
  const why = workers.data && builder.data ? waitingFor(labels, workers.data) : undefined;
  return (
    <Empty title="Waiting for a worker">
      <p>
        Submitted <Ago at={request.submittedAt} />. {why?.text}
      </p>
      {labels.length > 0 && (
        <p>
          It needs a worker with <Labels labels={labels} />
        </p>
      )}
      {why?.none && (
        <Button component={Link} to="/workers" variant="light">
          Go to Workers
        </Button>
      )}
    </Empty>
  );
}

function Attempts({ request }: { request: BuildRequest }) {
  return (
    <div className={table.frame}>
      <table className={table.table}>
        <thead>
          <tr>
            <th>Attempt</th>
            <th>Build</th>
            <th>Result</th>
          </tr>
        </thead>
        <tbody>
          {request.builds.map((build, index) => (
            <tr key={build.id}>
              <td data-label="Attempt">{index + 1}</td>
              <td data-label="Build">
                <Link className={table.main} to="/builds/$id" params={{ id: String(build.id) }}>
                  #{build.number}
                </Link>
              </td>
              <td data-label="Result">
                <StandingMark standing={standingOf(build)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function CancelRequest({ request }: { request: BuildRequest }) {
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => api.requests.cancel(request.id),
    onSettled: async () => {
      await queries.invalidateQueries({ queryKey: keys.requests });
      await queries.invalidateQueries({ queryKey: keys.request(request.id) });
    },
  });
  return (
    <Button
      size="compact-sm"
      variant="default"
      loading={cancel.isPending}
      onClick={() => cancel.mutate()}
      aria-label={`Cancel request ${request.id}`}
    >
      Cancel request
    </Button>
  );
}
