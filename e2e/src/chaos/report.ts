import { figure, figuresIn, readPart, rowsOf, tableOf, writePart } from '../reliability.js';
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

  /** Counts the rounds too that a part of the page tells of; its commands, or undefined when it tells of none. */
  addSaid(text: string): string[] | undefined {
    const told = /, in (\d+) minutes: (\d+) rounds passed, (\d+) failed\.$/m.exec(text);
    if (!told) return undefined;
    const [minutes = 0, passed = 0, failed = 0] = told.slice(1).map(Number);
    this.seconds += minutes * 60;
    this.passed += passed;
    this.failed += failed;
    for (const [name = '', ...cells] of rowsOf(text)) {
      const totals = name === 'all' ? this.#all : this.#kinds.get(name as Kind);
      if (!totals) throw new Error(`the page tells of a fault "${name}" that there is not`);
      const [rounds = 0, hits = 0, faults = 0, attempts = 0, bytes = 0, leaks = 0] = figuresIn(
        cells.join(' | '),
      );
      for (const [key, value] of Object.entries({ rounds, hits, faults, attempts, bytes, leaks }))
        totals[key as keyof KindTotals] += value;
    }
    const commands = text.slice(text.indexOf('-->') + 1, told.index);
    return [...commands.matchAll(/`[^`]+`/g)].map(([command]) => command);
  }

  /** What is said of them, by these commands, with the table. */
  said(commands: readonly string[]): string[] {
    const minutes = Math.round(this.seconds / 60);
    return [`${commands.join(' and\n')}, in ${minutes} minutes: ${this.summary}.`, this.table()];
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

/** Puts the totals into docs/reliability.md, in the place of what is there, or added to it. */
export function writeReliability(command: string, totals: Totals, add: boolean): void {
  const before = add ? totals.addSaid(readPart(PART)) : undefined;
  writePart(PART, totals.said([...(before ?? []), `\`${command}\``]));
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
