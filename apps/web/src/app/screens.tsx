import { Button } from '@mantine/core';
import { useLocation, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { BuilderList } from '../features/builders/builder-list.js';
import { BuilderPage } from '../features/builders/builder-page.js';
import { TriggerDialog } from '../features/builders/trigger-dialog.js';
import { BuildPage } from '../features/builds/build-page.js';
import { Builds } from '../features/builds/build-list.js';
import { LogView } from '../features/log/log-view.js';
import { lineOfHash } from '../features/log/follow.js';
import { PendingRequests } from '../features/requests/pending-requests.js';
import { RequestPage } from '../features/requests/request-page.js';
import { Empty } from '../ui/page.js';
import { useRights } from './shell.js';

/** Screens that are made of several features; the features do not know each other. */

interface Wanted {
  builder: string;
  properties?: Record<string, string>;
}

/** The trigger dialog, and where the request goes on. */
function useTrigger() {
  const [wanted, setWanted] = useState<Wanted>();
  const navigate = useNavigate();
  const dialog = wanted && (
    <TriggerDialog
      builder={wanted.builder}
      given={wanted.properties}
      onClose={() => setWanted(undefined)}
      onTriggered={(request) =>
        void navigate({ to: '/requests/$id', params: { id: String(request.id) } })
      }
    />
  );
  return { dialog, trigger: setWanted };
}

export function BuildersScreen() {
  const { dialog, trigger } = useTrigger();
  return (
    <>
      <BuilderList mayTrigger={useRights().trigger} onTrigger={(builder) => trigger({ builder })} />
      {dialog}
    </>
  );
}

export function BuilderScreen({ name }: { name: string }) {
  const { dialog, trigger } = useTrigger();
  const rights = useRights();
  const start = rights.trigger ? () => trigger({ builder: name }) : undefined;
  return (
    <>
      <BuilderPage name={name} onTrigger={start}>
        <PendingRequests builder={name} mayTrigger={rights.trigger} />
        <Builds
          filter={{ builder: name }}
          empty={
            <Empty title="Not built yet">
              {start ? (
                <Button variant="light" onClick={start}>
                  Trigger the first build
                </Button>
              ) : (
                <p>Builds appear here once somebody triggers one.</p>
              )}
            </Empty>
          }
        />
      </BuilderPage>
      {dialog}
    </>
  );
}

export function BuildScreen({ id, step }: { id: number; step: number | undefined }) {
  const { dialog, trigger } = useTrigger();
  const navigate = useNavigate({ from: '/builds/$id' });
  const line = lineOfHash(useLocation().hash);
  return (
    <>
      <BuildPage
        id={id}
        step={step}
        mayTrigger={useRights().trigger}
        onStep={(index) => void navigate({ search: { step: index }, hash: '', replace: true })}
        onRunAgain={({ builder, properties }) => trigger({ builder, properties })}
        renderLog={(build, shown) => (
          <LogView
            key={shown.index}
            build={build.id}
            step={shown}
            line={line}
            onLine={(number) =>
              void navigate({
                search: { step: shown.index },
                hash: `L${number}`,
                replace: true,
                hashScrollIntoView: false,
              })
            }
          />
        )}
      />
      {dialog}
    </>
  );
}

export function RequestScreen({ id, stay }: { id: number; stay: boolean }) {
  const navigate = useNavigate();
  const [goOn] = useState(
    () => (build: number) =>
      void navigate({ to: '/builds/$id', params: { id: String(build) }, replace: true }),
  );
  return <RequestPage id={id} mayTrigger={useRights().trigger} onBuild={stay ? undefined : goOn} />;
}
