import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PAGE = fileURLToPath(new URL('../../docs/reliability.md', import.meta.url));

/** A part of the page that a program writes. */
interface Part {
  title: string;
  /** The comments that stand before and behind it. */
  begin: string;
  end: string;
}

/** The page with the text between the marks of the part, which is added when it is not there. */
export function withPart(
  page: string,
  { title, begin, end }: Part,
  paragraphs: readonly string[],
): string {
  const part = [begin, ...paragraphs, end].join('\n\n');
  const place = placeOf(page, begin, end);
  return place
    ? page.slice(0, place.from) + part + page.slice(place.to)
    : `${page.trimEnd()}\n\n## ${title}\n\n${part}\n`;
}

function placeOf(page: string, begin: string, end: string) {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  return from >= 0 && to > from ? { from, to: to + end.length } : undefined;
}

const read = (): string => (existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '# Reliability\n');

/** What docs/reliability.md has as this part by now; empty when there is none. */
export function readPart({ begin, end }: Part): string {
  const page = read();
  const place = placeOf(page, begin, end);
  return place ? page.slice(place.from, place.to) : '';
}

/** Writes the part into docs/reliability.md; adds the page or the part when it is not there. */
export function writePart(part: Part, paragraphs: readonly string[]): void {
  writeFileSync(PAGE, withPart(read(), part, paragraphs));
}

/** A Markdown table as Prettier lays it out: the first column is names, the others are figures. */
export function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) =>
    Math.max(3, title.length, ...rows.map((row) => row[at]?.length ?? 0)),
  );
  const laidOut = (row: readonly string[]): string =>
    line(
      widths.map((width, at) => {
        const cell = row[at] ?? '';
        return at === 0 ? cell.padEnd(width) : cell.padStart(width);
      }),
    );
  const rule = line(
    widths.map((width, at) => (at === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)),
  );
  return [laidOut(head), rule, ...rows.map(laidOut)].join('\n');
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

/** The cells of a table that `tableOf` made, without its head. */
export function rowsOf(text: string): string[][] {
  const lines = text.split('\n').filter((one) => one.startsWith('|'));
  return lines.slice(2).map((one) =>
    one
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** The numbers in a text that `figure` may have written. */
export const figuresIn = (text: string): number[] =>
  (text.match(/\d[\d,]*/g) ?? []).map((one) => Number(one.replaceAll(',', '')));

/** With separators, as the page shows it. */
export const figure = (value: number): string => value.toLocaleString('en-US');
