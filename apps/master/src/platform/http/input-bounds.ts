import type { FastifyInstance } from 'fastify';
import { FarmError, jsonExcess } from '@impgem/kit';

/** Far above what any route takes; below what its check would take long for, or end the stack with. */
const BOUNDS = { depth: 16, values: 5000 };

/**
 * Looks at each body and query before a handler does, and before anybody knows who sent it: bodies that cost more
 * to check than to send are refused, and so is what neither JSON nor text columns store: half of a surrogate pair
 * anywhere, a NUL in a query (in a body each field says itself what is wrong with it).
 */
export function boundInput(http: FastifyInstance): void {
  http.addHook('preValidation', (request, _reply, done) => {
    const excess = jsonExcess(request.body, BOUNDS);
    const problem =
      excess !== undefined
        ? `body: ${excess}`
        : says(request.body, HALF_PAIR)
          ? 'body: a text has half of a surrogate pair in it'
          : says(request.query, UNSTORABLE)
            ? 'query: a value has a character in it that no text has'
            : undefined;
    done(problem === undefined ? undefined : new FarmError('invalid-request', problem));
  });
}

const HALF_PAIR = /\p{Surrogate}/u;
const UNSTORABLE = /\0|\p{Surrogate}/u;

/** Whether a text in it, or the name of a member, matches. For values within `BOUNDS`. */
function says(value: unknown, pattern: RegExp): boolean {
  if (typeof value === 'string') return pattern.test(value);
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(
    ([name, member]) => pattern.test(name) || says(member, pattern),
  );
}
