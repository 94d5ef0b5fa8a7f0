import type { Session } from '@impgem/client';
import { ProblemError } from '@impgem/client';
import { Button, Menu } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, Outlet } from '@tanstack/react-router';
import { createContext, use } from 'react';
import { SignIn } from '../features/session/sign-in.js';
import { api, currentSession } from '../lib/api.js';
import { keys } from '../lib/keys.js';
import { LiveProvider, useLinkState } from '../lib/live.js';
import { Gem } from '../ui/gem.js';
import { Loading } from '../ui/page.js';
import { ProblemAlert } from '../ui/problem.js';
import styles from './shell.module.css';
import { basePath } from '../lib/base.js';

const SessionContext = createContext<Session | undefined>(undefined);

/** What the token allows; buttons that would be refused are not shown. */
export function useRights(): { trigger: boolean; admin: boolean } {
  const scopes = use(SessionContext)?.scopes ?? [];
  const admin = scopes.includes('admin');
  return { admin, trigger: admin || scopes.includes('trigger') };
}

/** Everything behind the sign-in: the frame of the page, and the live socket that keeps it fresh. */
export function Shell() {
  const queries = useQueryClient();
  const session = useQuery({
    queryKey: keys.session,
    queryFn: currentSession,
    retry: (failures, error) => !isSignedOut(error) && failures < 3,
    refetchOnWindowFocus: 'always',
  });
  if (session.error && isSignedOut(session.error))
    return (
      <SignIn
        onSignedIn={(opened) => {
          // Nothing of an earlier session is shown to this one.
          queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== keys.session[0] });
          queries.setQueryData(keys.session, opened);
        }}
      />
    );
  if (session.data)
    return (
      <SessionContext value={session.data}>
        <LiveProvider>
          <TopBar session={session.data} />
          <Outlet />
        </LiveProvider>
      </SessionContext>
    );
  return (
    <div className={styles.wait}>
      {session.error ? (
        <ProblemAlert error={session.error} onRetry={() => void session.refetch()} />
      ) : (
        <Loading what="the page" />
      )}
    </div>
  );
}

function isSignedOut(error: Error): boolean {
  return error instanceof ProblemError && error.status === 401;
}

function TopBar({ session }: { session: Session }) {
  return (
    <header className={styles.bar}>
      <a className={styles.skip} href="#content">
        Skip to content
      </a>
      <Link to="/builders" className={styles.brand}>
        <Gem /> <span>Imp Gem</span>
      </Link>
      <nav className={styles.nav} aria-label="Main">
        <Link to="/builders" activeProps={{ 'aria-current': 'page' }}>
          Builders
        </Link>
        <Link to="/builds" activeProps={{ 'aria-current': 'page' }}>
          Builds
        </Link>
        <Link to="/workers" activeProps={{ 'aria-current': 'page' }}>
          Workers
        </Link>
      </nav>
      <LinkMark />
      <Account session={session} />
    </header>
  );
}

const LINK_TEXT = {
  open: 'Live',
  connecting: 'Connecting…',
  waiting: 'Reconnecting…',
  closed: 'Not connected',
} as const;

function LinkMark() {
  const state = useLinkState();
  return (
    <span
      className={`${styles.link} ${state === 'open' ? styles.open : ''}`}
      role="status"
      title={
        state === 'open'
          ? 'What you see is kept fresh'
          : 'The connection to the master is away; it comes back by itself'
      }
    >
      {LINK_TEXT[state]}
    </span>
  );
}

function Account({ session }: { session: Session }) {
  const queries = useQueryClient();
  const signOut = async () => {
    await api.session.signOut().catch(() => undefined);
    await queries.resetQueries({ queryKey: keys.session });
  };
  const name = session.actor.replace(/^token:/, '');
  return (
    <Menu position="bottom-end" withinPortal={false}>
      <Menu.Target>
        <Button
          size="compact-sm"
          variant="subtle"
          color="gray"
          className={styles.account}
          aria-label={`Account: ${name}`}
        >
          {name}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          Token {name}: {session.scopes.join(', ')}
        </Menu.Label>
        <Menu.Item component="a" href={`${basePath}/api/docs`} target="_blank">
          API reference
        </Menu.Item>
        <Menu.Item onClick={() => void signOut()}>Sign out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
