/** A state that cannot be: a bug in the program, never bad input. The process that meets one restarts. */
export class InvariantError extends Error {
  override name = 'InvariantError';
}

export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InvariantError(what);
}

/** For the default branch of an exhaustive `switch`. */
export function unreachable(value: never): never {
  throw new InvariantError(`unexpected value ${JSON.stringify(value)}`);
}
