/**
 * The codes of the REST interface's errors (RFC 9457 `application/problem+json`, member `code`), with the HTTP
 * status each one has. The master throws `FarmError(code, …)`; nothing else decides a status.
 */
export const PROBLEM_CODES = {
  'invalid-request': { status: 400, title: 'The request is not well formed' },
  'invalid-farm-file': { status: 422, title: 'The farm file has problems' },
  unauthenticated: { status: 401, title: 'No valid token' },
  'token-expired': { status: 401, title: 'The token has expired' },
  'token-revoked': { status: 401, title: 'The token was revoked' },
  'token-used-up': { status: 401, title: 'The registration token is used up' },
  forbidden: { status: 403, title: 'The token lacks the scope' },
  csrf: { status: 403, title: 'The request did not come from the page' },
  origin: { status: 403, title: 'The origin is not allowed' },
  'name-not-allowed': { status: 403, title: 'The registration token is not for this name' },
  'label-not-allowed': { status: 403, title: 'The registration token does not allow this label' },
  'not-found': { status: 404, title: 'There is no such thing' },
  'unknown-builder': { status: 404, title: 'There is no such builder' },
  'name-taken': { status: 409, title: 'The name is in use' },
  'already-finished': { status: 409, title: 'It is finished already' },
  'undeclared-property': { status: 422, title: 'The builder does not declare this property' },
  'invalid-property': { status: 422, title: 'The property has a value that is not allowed' },
  'too-large': { status: 413, title: 'The request is too large' },
  'range-not-satisfiable': { status: 416, title: 'The range lies outside' },
  'search-too-slow': { status: 422, title: 'The expression takes too long' },
  'queue-full': { status: 429, title: 'Too many build requests wait' },
  'too-many-requests': { status: 429, title: 'Too many requests' },
  internal: { status: 500, title: 'An error in the master' },
  overloaded: { status: 503, title: 'The master has too much to do' },
  'database-unavailable': { status: 503, title: 'The database does not answer' },
  'database-full': { status: 507, title: 'The disk of the database is full' },
  stopping: { status: 503, title: 'The master is about to stop' },
} as const;

export type ProblemCode = keyof typeof PROBLEM_CODES;
