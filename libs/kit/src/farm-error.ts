/**
 * A refusal: something outside the program is wrong, and this says what, where and how to mend it.
 * Codes are registered (`libs/protocol/src/reasons.ts` for what ends a build, `libs/client/src/problem-codes.ts`
 * for HTTP); each edge maps the error once. A bug is an `InvariantError` instead.
 */
export class FarmError extends Error {
  override name = 'FarmError';
  constructor(
    readonly code: string,
    message: string,
    /** Facts for programs, e.g. `{ problems: [...] }`; shown to the peer, so never secrets. */
    readonly details: Record<string, unknown> = {},
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
