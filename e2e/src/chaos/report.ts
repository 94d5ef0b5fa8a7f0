import { figure, tableOf, writePart } from '../reliability.js';
import { ALL_KINDS, type Kind } from './faults.js';
import type { RoundReport } from './round.js';

interface KindTotals {
  faults: number;
  hits: number;
  rounds: number;
  attempts: number;
  bytes: number;
  leaks: number;
}

export class Totals {
  passed = 0;
  failed = 0;
  seconds = 0;
  readonly #all = nothing();
  readonly #kinds = new Map<Kind, KindTotals>(ALL_KINDS.map((kind) => [kind, nothing()]));

  add(report: RoundReport): void {
    if (report.problems.length === 0) this.passed += 1;
    else this.failed += 1;
    this.seconds += report.seconds;
    const { hits, attempts, bytes, leaks } = report;
    const kinds = new Set(hits.map(({ kind }) => kind));
    for (const totals of [this.#all, ...[...kinds].map((kind) => this.#kinds.get(kind))]) {
      if (!totals) continue;
      totals.rounds += 1;
      totals.attempts += attempts;
      totals.bytes += bytes;
      totals.leaks += leaks.length;
    }
    for (const { kind, writing } of hits) {
      for (const totals of [this.#all, this.#kinds.get(kind)]) {
        if (!totals) continue;
        totals.faults += 1;
        if (writing) totals.hits += 1;
      }
    }
  }

  /** As a Markdown table. */
  table(): string {
    const rows = [...this.#kinds].filter(([, { faults }]) => faults > 0);
    return tableOf(
      ['fault', 'rounds', 'hits on a writing build', 'attempts', 'bytes compared', 'leaks'],
      [...rows.map(([kind, totals]) => row(kind, totals)), row('all', this.#all)],
    );
  }

  get summary(): string {
    return `${this.passed} rounds passed, ${this.failed} failed`;
  }
}

const nothing = (): KindTotals => ({
  faults: 0,
  hits: 0,
  rounds: 0,
  attempts: 0,
  bytes: 0,
  leaks: 0,
});

function row(name: string, { faults, hits, rounds, attempts, bytes, leaks }: KindTotals): string[] {
  const hit = `${figure(hits)} of ${figure(faults)}`;
  return [name, figure(rounds), hit, figure(attempts), figure(bytes), figure(leaks)];
}

const PART = {
  title: 'Chaos',
  begin: '<!-- chaos: written by `npm run chaos -- --write` -->',
  end: '<!-- end of chaos -->',
};

/** Puts the totals into docs/reliability.md. */
export function writeReliability(command: string, totals: Totals): void {
  const minutes = Math.round(totals.seconds / 60);
  const said = `\`${command}\`, in ${minutes} minutes: ${totals.summary}.`;
  writePart(PART, [said, totals.table()]);
}

const LONG_PART = {
  title: 'A build that counts aloud',
  begin: '<!-- long: written by `npm run chaos -- --long --write` -->',
  end: '<!-- end of long -->',
};

/** What became of the build that counts aloud. */
export function writeOrdeal(paragraphs: readonly string[]): void {
  writePart(LONG_PART, ['`npm run chaos -- --long`:', ...paragraphs]);
}
