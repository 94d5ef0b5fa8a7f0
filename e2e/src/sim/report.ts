import { figure, tableOf } from '../reliability.js';
import type { RunReport } from './simulate.js';

/** What many runs came to; plain JSON. */
export interface Totals {
  first: number;
  count: number;
  passed: number;
  failed: number;
  /** How many failures, by invariant. */
  violations: Record<string, number>;
  /** How often, by kind. */
  faults: Record<string, number>;
  workers: number;
  requests: number;
  attempts: number;
  /** Frames that were sent over the wire. */
  frames: number;
  bytes: number;
  events: number;
  /** Virtual and real milliseconds. */
  ms: number;
  tookMs: number;
}

export function noTotals(first: number): Totals {
  return {
    first,
    count: 0,
    passed: 0,
    failed: 0,
    violations: {},
    faults: {},
    workers: 0,
    requests: 0,
    attempts: 0,
    frames: 0,
    bytes: 0,
    events: 0,
    ms: 0,
    tookMs: 0,
  };
}

export function totalsOf(report: RunReport): Totals {
  const { violation, seed, trace: _, faults, ...sums } = report;
  return {
    ...noTotals(seed),
    ...sums,
    count: 1,
    passed: violation ? 0 : 1,
    failed: violation ? 1 : 0,
    violations: violation ? { [violation.invariant]: 1 } : {},
    faults: { ...faults },
  };
}

/** Adds more runs to those of before. */
export function add(all: Totals, more: Totals): void {
  for (const [name, value] of Object.entries(more) as [keyof Totals, Totals[keyof Totals]][]) {
    if (name === 'first') continue;
    if (name === 'violations' || name === 'faults') {
      for (const [kind, count] of Object.entries(value))
        all[name][kind] = (all[name][kind] ?? 0) + (count as number);
    } else all[name] += value as number;
  }
}

/** The totals as a Markdown table. */
export function tableOfTotals(totals: Totals): string {
  const { count, ms, tookMs } = totals;
  const rows = [
    ['seeds', `${totals.first} to ${totals.first + count - 1}`],
    ['virtual hours', figure(Math.round(ms / 3_600_000))],
    ['events', figure(totals.events)],
    ['workers', figure(totals.workers)],
    ['build requests', figure(totals.requests)],
    ['builds (attempts)', figure(totals.attempts)],
    ['frames on the wire', figure(totals.frames)],
    ['bytes of output', figure(totals.bytes)],
    ...Object.entries(totals.faults)
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([kind, n]) => [`fault: ${kind}`, figure(n)]),
    ['seeds a second', figure(Math.round(count / (tookMs / 1000)))],
    ...Object.entries(totals.violations).map(([name, n]) => [`FAILED: ${name}`, figure(n)]),
  ];
  return tableOf(['what', 'how many'], rows);
}
