import type { FaultKind } from './faults.js';
import { simulate, type Flaws, type RunReport } from './simulate.js';

/** What many runs came to. */
export interface Totals {
  first: number;
  count: number;
  passed: number;
  failed: number;
  /** Seeds of the first failures, by invariant. */
  violations: Map<string, number[]>;
  faults: Map<FaultKind, number>;
  requests: number;
  attempts: number;
  bytes: number;
  events: number;
  /** Virtual and real milliseconds. */
  ms: number;
  tookMs: number;
}

export interface SeedsOptions {
  flaws?: Flaws;
  /** After each failure; `soFar` counts them. Returning true ends it all. */
  failed?: (report: RunReport, soFar: number) => boolean | void;
}

export function runSeeds(first: number, count: number, options: SeedsOptions = {}): Totals {
  const totals: Totals = {
    first,
    count: 0,
    passed: 0,
    failed: 0,
    violations: new Map(),
    faults: new Map(),
    requests: 0,
    attempts: 0,
    bytes: 0,
    events: 0,
    ms: 0,
    tookMs: 0,
  };
  const start = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    const report = simulate(seed, { flaws: options.flaws ?? {} });
    add(totals, report);
    if (report.violation && options.failed?.(report, totals.failed) === true) break;
  }
  totals.tookMs = performance.now() - start;
  return totals;
}

function add(totals: Totals, report: RunReport): void {
  const { violation, faults, requests, attempts, bytes, events, ms, seed } = report;
  totals.count += 1;
  totals.requests += requests;
  totals.attempts += attempts;
  totals.bytes += bytes;
  totals.events += events;
  totals.ms += ms;
  for (const [kind, count] of Object.entries(faults) as [FaultKind, number][])
    totals.faults.set(kind, (totals.faults.get(kind) ?? 0) + count);
  if (!violation) {
    totals.passed += 1;
    return;
  }
  totals.failed += 1;
  const seeds = totals.violations.get(violation.invariant) ?? [];
  totals.violations.set(violation.invariant, [...seeds, seed].slice(0, 5));
}

/** The totals as a Markdown table. */
export function tableOf(totals: Totals): string {
  const { requests, attempts, bytes, events, ms, tookMs, count } = totals;
  const rows = [
    ['seeds', `${totals.first} to ${totals.first + count - 1}`],
    ['virtual hours', (ms / 3_600_000).toFixed(0)],
    ['events', number(events)],
    ['build requests', number(requests)],
    ['attempts', number(attempts)],
    ['bytes of output', number(bytes)],
    ...[...totals.faults].sort(([, a], [, b]) => b - a).map(([kind, n]) => [kind, number(n)]),
    ['seeds a second', (count / (tookMs / 1000)).toFixed(0)],
    ...[...totals.violations].map(([name, seeds]) => [`FAILED ${name}`, `seeds ${seeds.join()}`]),
  ];
  return [
    '| what | how many |',
    '| --- | ---: |',
    ...rows.map((row) => `| ${row.join(' | ')} |`),
  ].join('\n');
}

const number = (value: number): string => value.toLocaleString('en-US');
