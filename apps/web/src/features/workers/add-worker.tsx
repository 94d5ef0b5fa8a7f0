import type { NewRegistrationToken, Worker } from '@impgem/client';
import { Button, Modal, NumberInput, Select, Tabs, TagsInput, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../lib/api.js';
import { CopyBlock } from '../../ui/copy.js';
import { ProblemAlert } from '../../ui/problem.js';
import { isInsecure, recipes, workerName } from './commands.js';
import { newWorkers } from './new-workers.js';
import styles from './workers.module.css';
import { farmUrl } from '../../lib/base.js';

const EXPIRY = [
  { value: '3600', label: 'in an hour' },
  { value: '86400', label: 'in a day' },
  { value: '604800', label: 'in a week' },
];

/** Makes a registration token and shows what to run; then waits for the worker and says that it is there. */
export function AddWorker({ workers, onClose }: { workers: Worker[]; onClose: () => void }) {
  const [before] = useState(() => new Set(workers.map((worker) => worker.id)));
  const [name, setName] = useState('');
  const [token, setToken] = useState<NewRegistrationToken>();
  return (
    <Modal
      opened
      onClose={onClose}
      title="Add a worker"
      size="lg"
      lockScroll={false}
      closeOnClickOutside={token === undefined}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {token ? (
        <Commands
          token={token}
          name={name}
          arrived={newWorkers(before, workers)}
          onClose={onClose}
        />
      ) : (
        <TokenForm name={name} onName={setName} onToken={setToken} />
      )}
    </Modal>
  );
}

function TokenForm({
  name,
  onName,
  onToken,
}: {
  name: string;
  onName: (name: string) => void;
  onToken: (token: NewRegistrationToken) => void;
}) {
  const [uses, setUses] = useState(1);
  const [expiresIn, setExpiresIn] = useState('86400');
  const [labels, setLabels] = useState<string[]>([]);
  const create = useMutation({
    mutationFn: () =>
      api.registrationTokens.create({
        uses,
        expiresIn: Number(expiresIn),
        ...(labels.length > 0 ? { labels } : {}),
        // One name for several workers is the beginning of theirs.
        ...(name === '' ? {} : { names: [uses > 1 ? `${name}*` : name] }),
      }),
    onSuccess: onToken,
  });
  const badName = name !== '' && workerName(name) === undefined;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (!badName) create.mutate();
      }}
    >
      <p className={styles.lead}>
        A worker dials out to this master; it needs no open port. It registers once with a token and
        then keeps a credential of its own.
      </p>
      {create.error && <ProblemAlert error={create.error} />}
      <div className={styles.fields}>
        <TextInput
          label="Name"
          description="Left out: the machine’s host name"
          placeholder="e.g. big-box"
          value={name}
          error={badName && 'Letters, digits, “.”, “_” and “-”, at most 63'}
          onChange={(event) => onName(event.currentTarget.value)}
        />
        <TokenLimits
          uses={uses}
          onUses={setUses}
          expiresIn={expiresIn}
          onExpiresIn={setExpiresIn}
        />
        <TagsInput
          label="Labels that it may claim"
          description="Left out: any. Labels of its own system (os, arch, executor) are set by itself"
          placeholder={labels.length === 0 ? 'e.g. gpu' : ''}
          value={labels}
          onChange={setLabels}
        />
      </div>
      <div className={styles.dialogActions}>
        <Button type="submit" loading={create.isPending}>
          Make token and show command
        </Button>
      </div>
    </form>
  );
}

function TokenLimits({
  uses,
  onUses,
  expiresIn,
  onExpiresIn,
}: {
  uses: number;
  onUses: (uses: number) => void;
  expiresIn: string;
  onExpiresIn: (seconds: string) => void;
}) {
  return (
    <div className={styles.pair}>
      <NumberInput
        label="Workers that may use the token"
        min={1}
        max={1000}
        value={uses}
        onChange={(value) => onUses(Number(value) || 1)}
      />
      <Select
        label="Token expires"
        data={EXPIRY}
        allowDeselect={false}
        value={expiresIn}
        onChange={(value) => onExpiresIn(value ?? '86400')}
      />
    </div>
  );
}

function Commands({
  token,
  name,
  arrived,
  onClose,
}: {
  token: NewRegistrationToken;
  name: string;
  arrived: Worker[];
  onClose: () => void;
}) {
  const master = farmUrl();
  const chosen = workerName(name);
  const list = recipes({
    master,
    token: token.token,
    ...(chosen ? { name: chosen } : {}),
  });
  return (
    <>
      <p className={styles.lead}>
        Run one of these on the new machine. The token is shown only now; it expires{' '}
        {new Date(token.expiresAt).toLocaleString()}.
      </p>
      <Tabs defaultValue="impgem" keepMounted={false}>
        <Tabs.List>
          {list.map(({ id, title }) => (
            <Tabs.Tab key={id} value={id}>
              {title}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {list.map(({ id, needs, text, title }) => (
          <Tabs.Panel key={id} value={id} pt={10}>
            <p className={styles.needs}>{needs}</p>
            <CopyBlock text={text} label={`command for ${title}`} />
          </Tabs.Panel>
        ))}
      </Tabs>
      {isInsecure(master) && (
        <p className={styles.warning}>
          This page is open over plain http: the token and every log travel unencrypted. Serve the
          master over TLS where the network is not yours alone.
        </p>
      )}
      <div className={styles.arrival} role="status">
        {arrived.length === 0 ? (
          <>
            <span className={styles.pulse} /> Waiting for the worker to connect…
          </>
        ) : (
          arrived.map((worker) => (
            <span key={worker.id} className={styles.arrived}>
              ✓ {worker.name} is {worker.state === 'online' ? 'online' : 'registered'}
            </span>
          ))
        )}
        <Button variant={arrived.length > 0 ? 'filled' : 'default'} onClick={onClose}>
          {arrived.length > 0 ? 'Done' : 'Close'}
        </Button>
      </div>
    </>
  );
}
