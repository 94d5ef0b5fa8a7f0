import { outputBehind, quarantineText, type Worker } from '@impgem/client';
import { Button, Modal } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../lib/api.js';
import { formatBytes } from '../../lib/format.js';
import { keys } from '../../lib/keys.js';
import { Empty, Labels, Loading, Page } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import table from '../../ui/table.module.css';
import { Ago } from '../../ui/time.js';
import { AddWorker } from './add-worker.js';
import { inOrder } from './new-workers.js';
import styles from './workers.module.css';

/** What a state means, for those who do not know the words yet. */
const MEANINGS: Record<Worker['state'], string> = {
  online: 'Connected',
  draining: 'Connected; finishes what it has and takes nothing new',
  quarantined: 'Connected; given no builds for a while, since it spoiled several in a row',
  'low-disk': 'Connected; takes no work, since a disk is nearly full',
  suspect: 'Silent for a moment; keeps its builds',
  lost: 'Silent for long; its builds are handed out again soon',
  offline: 'Not connected',
  revoked: 'Its credential was revoked',
};

export function WorkerList({ mayAdmin }: { mayAdmin: boolean }) {
  const [adding, setAdding] = useState(false);
  const [revoking, setRevoking] = useState<Worker>();
  const query = useQuery({
    queryKey: keys.workers,
    queryFn: async (): Promise<Worker[]> => (await api.workers.list({ limit: 200 })).items,
  });
  const workers = inOrder(query.data ?? []);
  const add = mayAdmin && <Button onClick={() => setAdding(true)}>Add a worker</Button>;
  return (
    <Page title="Workers" actions={workers.length > 0 && add}>
      {query.error && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      {query.isPending && <Loading what="workers" />}
      {query.data?.length === 0 && (
        <Empty title="No workers yet">
          <p>
            Workers run the builds, on this machine or any other. They dial out to the master, so
            they need no open port.
          </p>
          {add || <p>An admin adds one here.</p>}
        </Empty>
      )}
      {workers.length > 0 && (
        <WorkerTable workers={workers} onRevoke={mayAdmin ? setRevoking : undefined} />
      )}
      {adding && <AddWorker workers={workers} onClose={() => setAdding(false)} />}
      {revoking && <Revoke worker={revoking} onClose={() => setRevoking(undefined)} />}
    </Page>
  );
}

export function WorkerTable({
  workers,
  onRevoke,
}: {
  workers: Worker[];
  onRevoke: ((worker: Worker) => void) | undefined;
}) {
  return (
    <div className={table.frame}>
      <table className={table.table}>
        <thead>
          <tr>
            <th>Worker</th>
            <th>State</th>
            <th>Slots</th>
            <th>Labels</th>
            <th>Version</th>
            <th>Last seen</th>
            <th>
              <span className={styles.hiddenLabel}>Revoke</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {workers.map((worker) => (
            <tr key={worker.id}>
              <td>
                <div>
                  <span className={table.main}>{worker.name}</span>
                  {worker.platform && <Platform worker={worker} platform={worker.platform} />}
                </div>
              </td>
              <td data-label="State">
                <span
                  className={`${styles.state} ${styles[worker.state]}`}
                  title={MEANINGS[worker.state]}
                >
                  {worker.state}
                </span>
              </td>
              <td data-label="Slots">
                <Slots running={worker.running} slots={worker.slots} />
              </td>
              <td data-label="Labels">
                <Labels labels={worker.labels} />
              </td>
              <td data-label="Version">{worker.version}</td>
              <td data-label="Last seen">
                {worker.state === 'online' ? 'now' : <Ago at={worker.lastSeenAt} />}
              </td>
              <td className={table.end}>
                {onRevoke && <Actions worker={worker} onRevoke={onRevoke} />}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Actions({ worker, onRevoke }: { worker: Worker; onRevoke: (worker: Worker) => void }) {
  return (
    <>
      {worker.quarantine && <Resume worker={worker} />}
      {worker.state !== 'revoked' && (
        <Button
          size="compact-sm"
          variant="subtle"
          color="red"
          onClick={() => onRevoke(worker)}
          aria-label={`Revoke ${worker.name}`}
        >
          Revoke
        </Button>
      )}
    </>
  );
}

function Platform({
  worker,
  platform,
}: {
  worker: Worker;
  platform: NonNullable<Worker['platform']>;
}) {
  const facts = [
    platform.hostname === worker.name ? undefined : platform.hostname,
    `${platform.cpus} CPUs`,
    formatBytes(platform.memory),
    worker.diskFree === null ? undefined : `${formatBytes(worker.diskFree)} free`,
  ];
  const behind = outputBehind(worker);
  return (
    <>
      <div className={table.sub}>{facts.filter(Boolean).join(' · ')}</div>
      {worker.refusedLabels.length > 0 && (
        <div className={table.sub}>Not given: {worker.refusedLabels.join(', ')}</div>
      )}
      {worker.quarantine && (
        <div className={table.sub}>It {quarantineText(worker.quarantine)}.</div>
      )}
      {worker.lowDisk !== null && <div className={table.sub}>{worker.lowDisk}</div>}
      {behind > 0 && <div className={table.sub}>{formatBytes(behind)} of output to send</div>}
    </>
  );
}

/** Taken and free places, as many as fit; always the numbers too. */
function Slots({ running, slots }: { running: number; slots: number }) {
  return (
    <span className={styles.slots}>
      {slots <= 16 && (
        <span aria-hidden="true" className={styles.boxes}>
          {Array.from({ length: slots }, (_, index) => (
            <span key={index} className={index < running ? styles.taken : styles.free} />
          ))}
        </span>
      )}
      <span className="number nowrap">
        {running} of {slots}
      </span>
    </span>
  );
}

function Resume({ worker }: { worker: Worker }) {
  const queries = useQueryClient();
  const resume = useMutation({
    mutationFn: () => api.workers.resume(worker.name),
    onSettled: () => queries.invalidateQueries({ queryKey: keys.workers }),
  });
  return (
    <>
      {resume.error && <ProblemAlert error={resume.error} />}
      <Button
        size="compact-sm"
        variant="subtle"
        loading={resume.isPending}
        onClick={() => resume.mutate()}
        aria-label={`Give ${worker.name} builds again`}
      >
        Resume
      </Button>
    </>
  );
}

function Revoke({ worker, onClose }: { worker: Worker; onClose: () => void }) {
  const queries = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => api.workers.revoke(worker.name),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: keys.workers });
      onClose();
    },
  });
  return (
    <Modal
      opened
      onClose={onClose}
      title={`Revoke ${worker.name}?`}
      lockScroll={false}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {revoke.error && <ProblemAlert error={revoke.error} />}
      <p className={styles.lead}>
        It is cut off at once and cannot come back with its credential.{' '}
        {worker.running > 0
          ? `Its ${worker.running} running ${worker.running === 1 ? 'build is' : 'builds are'} handed to other workers and begin anew.`
          : 'It runs nothing now.'}
      </p>
      <div className={styles.dialogActions}>
        <Button variant="default" onClick={onClose}>
          Keep it
        </Button>
        <Button color="red" loading={revoke.isPending} onClick={() => revoke.mutate()}>
          Revoke
        </Button>
      </div>
    </Modal>
  );
}
