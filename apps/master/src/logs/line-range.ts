import { FarmError } from '@impgem/kit';
import type { LogRef } from './log-rows.js';
import type { Logs, LogState } from './logs.js';

/** Some lines of a log, and where they lie. */
export interface LineRange {
  /** From 1. */
  first: number;
  last: number;
  /** Lines that have begun. */
  total: number;
  /** In bytes; `to` is exclusive. */
  from: number;
  to: number;
}

/** `12-40`, `12-` for all from there on, `12` for one. */
export const LINES = /^([1-9]\d{0,14})(?:(-)([1-9]\d{0,14})?)?$/;

/** Throws `invalid-request` for lines that come the wrong way round, `range-not-satisfiable` beyond the last. */
export async function linesOf(
  logs: Logs,
  log: LogRef,
  state: LogState,
  asked: string,
): Promise<LineRange> {
  const [, begin = '1', dash, end] = LINES.exec(asked) ?? [];
  const first = Number(begin);
  const last = dash === undefined ? first : Number(end ?? Number.MAX_SAFE_INTEGER);
  if (last < first)
    throw new FarmError(
      'invalid-request',
      `lines: ${asked} is inverted; the first line comes first, as in ${last}-${first}`,
    );
  const total = await logs.lineCount(log, state);
  if (first > total)
    throw new FarmError(
      'range-not-satisfiable',
      `the log has ${total} lines, there is no line ${first}`,
    );
  return located(logs, log, state, first, Math.min(last, total), total);
}

/** The last so many lines. */
export async function tailOf(
  logs: Logs,
  log: LogRef,
  state: LogState,
  count: number,
): Promise<LineRange> {
  const total = await logs.lineCount(log, state);
  return located(logs, log, state, Math.max(1, total - count + 1), total, total);
}

async function located(
  logs: Logs,
  log: LogRef,
  state: LogState,
  first: number,
  last: number,
  total: number,
): Promise<LineRange> {
  const [from, to] = await Promise.all([
    logs.lineStart(log, state, first - 1),
    logs.lineStart(log, state, last),
  ]);
  return { first, last, total, from, to };
}
