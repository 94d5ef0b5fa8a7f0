/**
 * Why either end closes the worker socket. 1000, 1001, 1009 and 1012 are RFC 6455's and IANA's own;
 * 4000–4999 is the range left to applications, numbered after the HTTP status of like meaning.
 */
export const CLOSE = {
  /** Done: the worker drained and goes. */
  normal: 1000,
  /** A frame above the agreed size. */
  frameTooBig: 1009,
  /** The master restarts: come back within seconds. */
  restart: 1012,
  /** Not JSON, of an unknown type, or of the wrong shape. */
  badMessage: 4400,
  /** The credential was revoked: do not come back. */
  revoked: 4403,
  /** No version that both ends speak: do not come back before an upgrade. */
  version: 4406,
  /** No hello, or no heartbeat, in time. */
  silent: 4408,
  /** Another connection of this worker took over. */
  replaced: 4409,
  /** A frame names a build that this worker does not hold. */
  notYours: 4422,
  /** The master's database does not answer: come back later. */
  unavailable: 4503,
} as const;

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/** Whether a worker that was closed with this code may try again. */
export function mayReconnect(code: number): boolean {
  return code !== CLOSE.revoked && code !== CLOSE.version;
}
