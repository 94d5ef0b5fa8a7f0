import { createClient, type BuildQuery, type Client, type Session } from '@impgem/client';
import { basePath } from './base.js';

/**
 * The CSRF token of the session. It lives in memory only: whoever signs in or asks for the session sets it, and
 * every request that changes something carries it. The session itself is a cookie that no script can read.
 */
let csrf: string | undefined;

async function opened(answer: Promise<Session>): Promise<Session> {
  const session = await answer;
  csrf = session.csrf;
  return session;
}

/** What the page asks of the master: the client, over the page's own origin and cookie. */
export const api: Client = createClient({ url: basePath, csrf: () => csrf });

export const currentSession = (): Promise<Session> => opened(api.session.get());
export const signIn = (token: string): Promise<Session> => opened(api.session.signIn(token));

export type BuildFilter = Pick<BuildQuery, 'builder' | 'state' | 'result'>;

/** A page of a keyset list: `after` of the page before, absent for the first. */
export const pageAfter = (
  after: string | undefined,
  limit = 50,
): { after?: string; limit: number } => (after === undefined ? { limit } : { after, limit });
