import type { BuildDetail } from '@impgem/client';
import { Button, Modal, TextInput } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { ProblemAlert } from '../../ui/problem.js';
import styles from './builds.module.css';

export function CancelDialog({ build, onClose }: { build: BuildDetail; onClose: () => void }) {
  const [reason, setReason] = useState('');
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => api.builds.cancel(build.id, reason.trim() || undefined),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: keys.build(build.id) });
      onClose();
    },
  });
  return (
    <Modal
      opened
      onClose={onClose}
      title={`Cancel ${build.builder} #${build.number}?`}
      lockScroll={false}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          cancel.mutate();
        }}
      >
        {cancel.error && <ProblemAlert error={cancel.error} />}
        <p className={styles.dialogText}>
          The running step is asked to stop and is killed 10 seconds later. The log so far stays.
        </p>
        <TextInput
          label="Reason"
          description="Shown with the build; may be left out"
          maxLength={500}
          value={reason}
          onChange={(event) => setReason(event.currentTarget.value)}
        />
        <div className={styles.dialogActions}>
          <Button variant="default" onClick={onClose}>
            Keep it running
          </Button>
          <Button type="submit" color="red" loading={cancel.isPending}>
            Cancel build
          </Button>
        </div>
      </form>
    </Modal>
  );
}
