import type { BuildRequest, Builder, PropertyDefinition } from '@impgem/client';
import { Button, Modal, Select, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { Loading } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import { chosenValues, initialValues, missingValues } from './property-values.js';
import styles from './builders.module.css';

/** Asks for the declared properties and submits a request. `given`: the values of a build to run again. */
export function TriggerDialog({
  builder: name,
  given,
  onClose,
  onTriggered,
}: {
  builder: string;
  given?: Record<string, string> | undefined;
  onClose: () => void;
  onTriggered: (request: BuildRequest) => void;
}) {
  const builder = useQuery({ queryKey: keys.builder(name), queryFn: () => api.builders.get(name) });
  return (
    <Modal
      opened
      onClose={onClose}
      title={`Trigger ${name}`}
      lockScroll={false}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {builder.error && <ProblemAlert error={builder.error} />}
      {builder.isPending && <Loading what="properties" />}
      {builder.data && (
        <TriggerForm
          builder={builder.data}
          given={given}
          onClose={onClose}
          onTriggered={onTriggered}
        />
      )}
    </Modal>
  );
}

function TriggerForm({
  builder,
  given,
  onClose,
  onTriggered,
}: {
  builder: Builder;
  given: Record<string, string> | undefined;
  onClose: () => void;
  onTriggered: (request: BuildRequest) => void;
}) {
  const definitions = builder.properties;
  const [values, setValues] = useState(() => initialValues(definitions, given));
  const [reason, setReason] = useState('');
  const [tried, setTried] = useState(false);
  const trigger = useMutation({ mutationFn: api.requests.submit, onSuccess: onTriggered });
  const missing = missingValues(definitions, values);
  const names = Object.keys(definitions);
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        setTried(true);
        if (missing.length > 0) return;
        trigger.mutate({
          builder: builder.name,
          properties: chosenValues(definitions, values),
          ...(reason ? { reason } : {}),
        });
      }}
    >
      {trigger.error && <ProblemAlert error={trigger.error} />}
      <div className={styles.fields}>
        {names.length === 0 && <p className="dim">This builder declares no properties.</p>}
        {Object.entries(definitions).map(([name, definition]) => (
          <PropertyField
            key={name}
            name={name}
            definition={definition}
            value={values[name] ?? ''}
            missing={tried && missing.includes(name)}
            onChange={(value) => setValues((before) => ({ ...before, [name]: value }))}
          />
        ))}
        <TextInput
          label="Reason"
          description="Shown with the request; may be left out"
          maxLength={500}
          value={reason}
          onChange={(event) => setReason(event.currentTarget.value)}
        />
      </div>
      <div className={styles.dialogActions}>
        <Button variant="default" onClick={onClose}>
          Close
        </Button>
        <Button type="submit" loading={trigger.isPending}>
          Trigger build
        </Button>
      </div>
    </form>
  );
}

function PropertyField({
  name,
  definition,
  value,
  missing,
  onChange,
}: {
  name: string;
  definition: PropertyDefinition;
  value: string;
  missing: boolean;
  onChange: (value: string) => void;
}) {
  const common = {
    label: name,
    description: definition.description ?? undefined,
    required: definition.required,
    error: missing ? `${name} needs a value` : undefined,
  };
  if (definition.choices)
    return (
      <Select
        {...common}
        data={definition.choices}
        value={value || null}
        allowDeselect={!definition.required}
        placeholder="Choose"
        checkIconPosition="right"
        onChange={(chosen) => onChange(chosen ?? '')}
      />
    );
  return (
    <TextInput
      {...common}
      value={value}
      placeholder={definition.default ? `default: ${definition.default}` : undefined}
      onChange={(event) => onChange(event.currentTarget.value)}
    />
  );
}
