/** The cookie of the page's session. */
import { fastifyCookie } from '@fastify/cookie';

export const SESSION_COOKIE = 'impgem_session';
/** Browsers take this prefix only from the host itself, over https: a sibling host cannot set one in its place. */
const OVER_HTTPS = `__Host-${SESSION_COOKIE}`;

export function sessionCookieName(secure: boolean): string {
  return secure ? OVER_HTTPS : SESSION_COOKIE;
}

/** The session in a Cookie header. The plain name counts where there is no other: sessions of before, and plain http. */
export function sessionCookieOf(header: string | undefined): string | undefined {
  const cookies = fastifyCookie.parse(header ?? '');
  return cookies[OVER_HTTPS] ?? cookies[SESSION_COOKIE];
}
