import type { IncomingHttpHeaders } from 'node:http';

/**
 * Whether a request with the page's cookie may come from where it comes from: the farm's public address, or the
 * address it was sent to. Cookies are bound to a host, so the latter says nothing that the cookie does not.
 * Browsers leave the header out of plain reads of the same origin, and of nothing that changes something.
 */
export function allowedOrigin(headers: IncomingHttpHeaders, publicUrl: string): boolean {
  const { origin, host } = headers;
  if (origin === undefined) return headers['sec-fetch-site'] !== 'cross-site';
  if (!URL.canParse(origin)) return false;
  const from = new URL(origin);
  return from.origin === new URL(publicUrl).origin || from.host === host;
}
