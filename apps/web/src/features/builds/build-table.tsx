import type { Build } from '@impgem/client';
import { Link } from '@tanstack/react-router';
import { shortRevision } from '../../lib/format.js';
import { StandingMark, standingOf } from '../../ui/result.js';
import table from '../../ui/table.module.css';
import { Ago, Took } from '../../ui/time.js';
import styles from './builds.module.css';

export function BuildTable({ builds, withBuilder }: { builds: Build[]; withBuilder: boolean }) {
  return (
    <table className={table.table}>
      <thead>
        <tr>
          <th>Build</th>
          <th>Result</th>
          <th>Took</th>
          <th>Started</th>
          <th>Revision</th>
          <th>Worker</th>
          <th>By</th>
        </tr>
      </thead>
      <tbody>
        {builds.map((build) => (
          <tr key={build.id}>
            <td className="nowrap">
              <Link className={table.main} to="/builds/$id" params={{ id: String(build.id) }}>
                {withBuilder && `${build.builder} `}#{build.number}
              </Link>
              {build.attempt > 1 && <span className={table.sub}> attempt {build.attempt}</span>}
            </td>
            <td data-label="Result" className={styles.wide}>
              <div className={styles.result}>
                <StandingMark standing={standingOf(build)} />
                {build.reason && build.result !== 'success' && (
                  <span className={styles.why} title={build.reason.message}>
                    {build.reason.message}
                  </span>
                )}
              </div>
            </td>
            <td data-label="Took" className="nowrap">
              <Took start={build.startedAt} finish={build.finishedAt} />
            </td>
            <td data-label="Started">
              <Ago at={build.startedAt ?? build.createdAt} />
            </td>
            <td data-label="Revision">
              {build.properties['got_revision'] && (
                <code>{shortRevision(build.properties['got_revision'])}</code>
              )}
            </td>
            <td data-label="Worker" className="nowrap">
              {build.worker}
            </td>
            <td data-label="By">{actorName(build.submittedBy)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** `token:ci` → `ci`. */
export const actorName = (actor: string): string => actor.replace(/^token:/, '');
