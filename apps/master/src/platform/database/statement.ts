import { createHash } from 'node:crypto';
import type { QueryConfig } from 'pg';

/** Statements that a connection keeps prepared; those that come later are planned each time. */
const MOST = 300;
const PREPARABLE = /^\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b/i;

const names = new Map<string, string>();

/**
 * A query as the driver takes it. Its text gets a name, so that each connection parses and plans it once: for the
 * statements of a build's way that is two thirds of what they cost. A pooler between here and the database must
 * keep sessions, see `fitness.ts`.
 */
export function statement(text: string, params: readonly unknown[]): QueryConfig {
  const name = nameOf(text);
  return { text, values: [...params], ...(name ? { name } : {}) };
}

function nameOf(text: string): string | undefined {
  const known = names.get(text);
  if (known !== undefined || names.size >= MOST || !PREPARABLE.test(text)) return known;
  const name = createHash('sha256').update(text).digest('hex').slice(0, 32);
  names.set(text, name);
  return name;
}
