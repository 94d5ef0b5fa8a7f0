/** One thing that was looked at, for somebody who wants to know whether all is well. */
export interface Finding {
  /** What was looked at, in a word or two. */
  check: string;
  status: 'ok' | 'warn' | 'fail';
  /** What was found. */
  text: string;
  /** What to do about it. */
  mend?: string;
}

/** Findings about one thing. */
export function findings(check: string) {
  const bad =
    (status: 'warn' | 'fail') =>
    (text: string, mend: string): Finding => ({
      check,
      status,
      text,
      mend,
    });
  return {
    ok: (text: string): Finding => ({ check, status: 'ok', text }),
    /** Works, but not as it should, or not for long. */
    warn: bad('warn'),
    /** Does not work. */
    fail: bad('fail'),
  };
}
