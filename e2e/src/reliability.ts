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

/** Puts the text between the marks of docs/reliability.md; adds the page or the part when it is not there. */
export function writePart({ title, begin, end }: Part, paragraphs: readonly string[]): void {
  const part = [begin, ...paragraphs, end].join('\n\n');
  const page = existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '# Reliability\n';
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  const next =
    from >= 0 && to > from
      ? page.slice(0, from) + part + page.slice(to + end.length)
      : `${page.trimEnd()}\n\n## ${title}\n\n${part}\n`;
  writeFileSync(PAGE, next);
}
