import { FarmError } from '@impgem/kit';
import { subprotocol } from '@impgem/protocol';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Agent } from 'node:http';
import { isIP } from 'node:net';
import { rootCertificates } from 'node:tls';
import { WebSocket } from 'ws';

/** How the master is reached; for the socket and for registration. */
export interface Dialing {
  /** The master's address as people write it: `http(s)://host[:port][/prefix]`. */
  masterUrl: string;
  /** Allows `http://` beyond this machine: tokens and logs go in the clear then. */
  allowInsecure: boolean;
  /** PEM file of certificates trusted besides the usual ones. */
  caFile?: string;
  /** `http://[user:password@]host:port` of a proxy that understands CONNECT; for `https` addresses. */
  proxy?: string;
  /** Hosts that are reached without it, as in NO_PROXY. */
  noProxy: readonly string[];
}

/** The master says less than this in one frame: an `assign` with its plan is the biggest. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024;
const HANDSHAKE_MS = 20_000;

/** The address of something below the master's prefix. Throws a `FarmError` for one that must not be used. */
export function addressOf(dialing: Dialing, path: string, scheme: 'http' | 'ws'): URL {
  const url = new URL(dialing.masterUrl);
  const secure = url.protocol === 'https:' || url.protocol === 'wss:';
  if (!secure && !dialing.allowInsecure && !isLoopback(url.hostname))
    throw new FarmError(
      'insecure',
      `${url.origin} would send the token in the clear. Use https:// (IMPGEM_CA_FILE names an own CA), ` +
        'or set IMPGEM_ALLOW_INSECURE=1 if the network is yours alone.',
    );
  url.protocol = secure ? `${scheme}s:` : `${scheme}:`;
  url.pathname = `${url.pathname.replace(/\/+$/, '')}${path}`;
  url.search = url.hash = url.username = url.password = '';
  return url;
}

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '');
  if (bare === 'localhost' || bare.endsWith('.localhost') || bare === '::1') return true;
  return isIP(bare) === 4 && bare.startsWith('127.');
}

/** What `https.request` and `ws` need to get there. */
export function transportOf(dialing: Dialing, url: URL): { agent?: Agent; ca?: string[] } {
  const secure = url.protocol === 'https:' || url.protocol === 'wss:';
  if (!secure) return {};
  const around = dialing.noProxy.some((name) => matches(url.hostname, name));
  return {
    ...(dialing.caFile ? { ca: [...rootCertificates, authority(dialing.caFile)] } : {}),
    ...(dialing.proxy && !around ? { agent: new HttpsProxyAgent(dialing.proxy) } : {}),
  };
}

function authority(path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    // what is no certificate would be passed over without a word, and then nothing be trusted
    new X509Certificate(text).toString();
    return text;
  } catch (cause) {
    throw new FarmError(
      'config',
      `IMPGEM_CA_FILE: ${path} is no certificate in PEM: ${(cause as Error).message}`,
      {},
      { cause },
    );
  }
}

/** Of Node: the certificate may be right, but nobody whom we know has signed it. */
const NOT_TRUSTED = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
];

/** What went wrong on the way to the master, with what to set when that is known. */
export function wayProblem(error: NodeJS.ErrnoException): string {
  if (!NOT_TRUSTED.includes(error.code ?? '')) return error.message;
  return `${error.message}; IMPGEM_CA_FILE names the file of an own certificate authority`;
}

function matches(host: string, name: string): boolean {
  const bare = name.replace(/^\*?\./, '');
  return name === '*' || host === bare || host.endsWith(`.${bare}`);
}

/** Opens the worker's socket; nothing is known of it before its `open`. */
export function dial(dialing: Dialing, token: string): WebSocket {
  const url = addressOf(dialing, '/api/v1/worker', 'ws');
  return new WebSocket(url, [subprotocol()], {
    ...transportOf(dialing, url),
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    handshakeTimeout: HANDSHAKE_MS,
  });
}
