import { cutText } from '@impgem/kit';
import type { FileProblem } from '@impgem/client';
import { harmless, type Terminal } from './terminal.js';

/** A problem with its place in the file, the line, and a caret below the column. */
export function sayProblem(
  { say, talk }: Terminal,
  { path, message, line, column }: FileProblem,
  file?: { name: string; source: string },
): void {
  const at = path ? talk.bold(harmless(path)) : 'the file';
  if (line === undefined || !file) return say(`  ${at}: ${harmless(message)}`);
  say(`${talk.cyan(`${file.name}:${line}:${column ?? 1}`)} ${at}: ${harmless(message)}`);
  const text = (file.source.split('\n')[line - 1] ?? '').replaceAll('\t', ' ');
  if (text.trim() === '') return;
  // A window around the column, for lines of any length.
  const start = Math.max(0, (column ?? 1) - 60);
  const margin = `${String(line).padStart(5)} | `;
  say(`${talk.dim(margin)}${harmless(cutText(text.slice(start), 100))}`);
  const caret = ' '.repeat((column ?? 1) - 1 - start);
  say(`${talk.dim(' '.repeat(margin.length - 2))}${talk.dim('| ')}${caret}${talk.red('^')}`);
}
