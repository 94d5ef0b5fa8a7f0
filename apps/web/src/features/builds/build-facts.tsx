import type { BuildDetail } from '@impgem/client';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { api } from '../../lib/api.js';
import { shortRevision } from '../../lib/format.js';
import { keys } from '../../lib/keys.js';
import { StandingIcon, standingOf } from '../../ui/result.js';
import { Ago, Took } from '../../ui/time.js';
import { actorName } from './build-table.js';
import styles from './builds.module.css';

/** The head of a build: how it stands and why, then who, where, when. */
export function BuildFacts({ build }: { build: BuildDetail }) {
  const revision = build.properties['got_revision'];
  return (
    <>
      {build.reason && <p className={styles.summary}>{build.reason.message}</p>}
      <dl className={styles.facts}>
        <Fact name="Took">
          {build.startedAt ? (
            <Took start={build.startedAt} finish={build.finishedAt} />
          ) : (
            'not started'
          )}
        </Fact>
        <Fact name="Started">
          <Ago at={build.startedAt ?? build.createdAt} />
        </Fact>
        <Fact name="Worker">{build.worker ?? 'none'}</Fact>
        {revision && (
          <Fact name="Revision">
            <code title={revision}>{shortRevision(revision)}</code>
          </Fact>
        )}
        <Fact name="By">{actorName(build.submittedBy)}</Fact>
        <Fact name="Request">
          <Link to="/requests/$id" params={{ id: String(build.request) }} search={{ stay: true }}>
            {build.request}
          </Link>
        </Fact>
        {(build.attempt > 1 || build.result === 'retry') && <Attempts build={build} />}
      </dl>
    </>
  );
}

/** The other attempts of the same request. */
function Attempts({ build }: { build: BuildDetail }) {
  const query = useQuery({
    queryKey: keys.request(build.request),
    queryFn: () => api.requests.get(build.request),
  });
  return (
    <Fact name="Attempt">
      {build.attempt}
      {query.data?.builds
        .filter((other) => other.id !== build.id)
        .map((other) => (
          <Link
            key={other.id}
            className={styles.attempt}
            to="/builds/$id"
            params={{ id: String(other.id) }}
          >
            <StandingIcon standing={standingOf(other)} size={13} />#{other.number}
          </Link>
        ))}
    </Fact>
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
