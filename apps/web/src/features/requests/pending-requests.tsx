import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { api } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { StandingMark } from '../../ui/result.js';
import table from '../../ui/table.module.css';
import { Ago } from '../../ui/time.js';
import { CancelRequest } from './request-page.js';
import styles from './requests.module.css';

/** What waits for a builder; nothing at all when nothing waits. */
export function PendingRequests({ builder, mayTrigger }: { builder: string; mayTrigger: boolean }) {
  const query = useQuery({
    queryKey: keys.requestsOf(builder),
    queryFn: () => api.requests.list({ builder, state: 'pending' }),
  });
  const requests = query.data?.items ?? [];
  if (requests.length === 0) return null;
  return (
    <section className={styles.section}>
      <h2 className={styles.heading}>Waiting</h2>
      <div className={table.frame}>
        <table className={table.table}>
          <tbody>
            {requests.map((request) => (
              <tr key={request.id}>
                <td>
                  <Link
                    className={table.main}
                    to="/requests/$id"
                    params={{ id: String(request.id) }}
                  >
                    Request {request.id}
                  </Link>
                </td>
                <td>
                  <StandingMark standing="pending" />
                </td>
                <td>
                  <Ago at={request.submittedAt} />
                </td>
                <td>{request.reason}</td>
                <td className={table.end}>{mayTrigger && <CancelRequest request={request} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
