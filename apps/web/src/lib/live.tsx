import { openLive, type Live, type LiveState } from '@impgem/client';
import { useQueryClient } from '@tanstack/react-query';
import {
  createContext,
  use,
  useEffect,
  useMemo,
  useSyncExternalStore,
  type ReactNode,
} from 'react';
import { Refresher, keys, staleAfter } from './keys.js';
import { farmUrl } from './base.js';

/** The page's one live socket, and how it stands. */
export interface Link {
  live: Live;
  state: () => LiveState;
  onState: (listener: () => void) => () => void;
}

/** Opens the socket at the first listener and closes it with the last, so that a render has no effect. */
class PageLink implements Link {
  #live: Live | undefined;
  #listeners = new Set<() => void>();

  constructor(private readonly onLost: () => void) {}

  get live(): Live {
    this.#live ??= openLive({
      url: farmUrl(),
      onRefused: () => this.onLost(),
      onState: (state) => {
        if (state === 'waiting') this.onLost();
        for (const listener of this.#listeners) listener();
      },
    });
    return this.#live;
  }

  state = (): LiveState => this.#live?.state ?? 'connecting';

  onState = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  close(): void {
    this.#live?.close();
    this.#live = undefined;
  }
}

const LinkContext = createContext<Link | undefined>(undefined);

export function useLink(): Link {
  const link = use(LinkContext);
  if (!link) throw new Error('useLink stands outside of LiveProvider');
  return link;
}

export function useLinkState(): LiveState {
  const link = useLink();
  return useSyncExternalStore(link.onState, link.state);
}

/**
 * Keeps what is shown fresh: every event of the farm makes the queries old that it touches. After a lost
 * connection the session is asked for, since a browser does not say why a socket was refused.
 */
export function LiveProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const link = useMemo(
    () => new PageLink(() => void queries.invalidateQueries({ queryKey: keys.session })),
    [queries],
  );
  useEffect(() => {
    const refresher = new Refresher((queryKey) => queries.invalidateQueries({ queryKey }));
    const events = link.live.events(
      {},
      {
        event: (event) => refresher.add(staleAfter(event)),
        // The place to go on from is gone: anything may be old.
        error: () => refresher.add([[]]),
      },
    );
    return () => {
      events.close();
      link.close();
    };
  }, [link, queries]);
  return <LinkContext value={link}>{children}</LinkContext>;
}
