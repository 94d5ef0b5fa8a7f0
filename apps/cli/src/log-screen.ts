import { coloursOf, harmless, lastState, plain, settled } from './harmless.js';

const RESET = '\u001b[0m';
/** Back to the first column, and the rest of the row is empty. */
const REWRITE = '\r\u001b[K';
/** Of a line without end, in characters: then it is shown in parts. */
const MOST_OPEN = 64 * 1024;

interface Screen {
  /** Writes it as it is. */
  raw(text: string): void;
  /** Characters of a row; undefined when unknown, as in tests. */
  columns(): number | undefined;
}

/**
 * A log as it comes in, in pieces cut anywhere, on a terminal: whole lines in their last state, colours only. A line that
 * has no end yet is shown as far as it fits in one row, so that it can be written over whatever the terminal's width.
 */
export class LogScreen {
  #open = '';
  #shown = '';
  #colours = '';
  constructor(readonly screen: Screen) {}

  write(text: string): void {
    const lines = (this.#open + text).split('\n');
    this.#open = settled(lines.pop() ?? '');
    let out = lines.map((line) => this.#line(line) + '\n').join('');
    if (this.#open.length > MOST_OPEN) {
      out += this.#line(this.#open);
      this.#open = '';
    }
    if (out !== '') this.#put(out);
    this.#draft();
  }

  /** What has no newline at its end is shown without one. */
  end(): void {
    const rest = this.#line(this.#open);
    this.#open = '';
    const close = this.#colours === '' ? '' : RESET;
    this.#colours = '';
    if (this.#shown + rest + close !== '') this.#put(rest + close);
  }

  #line(line: string): string {
    const shown = harmless(lastState(line));
    this.#colours = coloursOf(this.#colours + shown);
    return shown;
  }

  #put(text: string): void {
    this.screen.raw(this.#shown === '' ? text : `${REWRITE}${text}`);
    this.#shown = '';
  }

  #draft(): void {
    const columns = this.screen.columns();
    if (!columns) return;
    const draft = fitting(plain(lastState(this.#open)), columns - 1);
    if (draft === this.#shown) return;
    this.screen.raw(this.#shown === '' ? draft : `${REWRITE}${draft}`);
    this.#shown = draft;
  }
}

/** The beginning of a text that surely fits: characters that may be two columns wide count as two. */
function fitting(text: string, columns: number): string {
  let width = 0;
  let fits = '';
  for (const one of text.replaceAll('\t', ' ')) {
    width += (one.codePointAt(0) ?? 0) > 0x10ff ? 2 : 1;
    if (width > columns) break;
    fits += one;
  }
  return fits;
}
