import { cutText } from '@impgem/kit';
import type { StreamName } from '@impgem/client';

/**
 * The lines of one step's log, built from pieces as the live socket brings them. Pure, no timers.
 *
 * - Pieces are placed by their byte offset: what is below the end is dropped, what is above it is a gap, and the
 *   caller subscribes again from `end`. So a cut connection can neither double nor lose a line.
 * - Each stream has a line of its own that is being written: a line of stdout that is not finished yet is not torn
 *   apart by one of stderr in between; lines stand in the order in which they began.
 * - It may begin anywhere: with a line's number and offset.
 * - Memory is bounded: a line keeps its first `LINE_CHARACTERS`, the buffer its last `MAX_LINES` and
 *   `MAX_CHARACTERS`; both say what is left out.
 */

/** Characters of a line that are shown; the rest is counted. */
export const LINE_CHARACTERS = 8_000;
const MAX_LINES = 1_000_000;
const MAX_CHARACTERS = 64 * 1024 * 1024;
/** Characters of colour codes that are carried into the next line. */
const CARRY_CHARACTERS = 120;

export interface LogPiece {
  stream: StreamName;
  /** In bytes of the log, as `length`. */
  offset: number;
  length: number;
  text: string;
}

export interface LogLine {
  readonly stream: StreamName;
  /** Without its newline; colour codes and control characters as they came. */
  readonly text: string;
  /** Colour codes of earlier lines that are still in force. */
  readonly carry: string;
  /** Characters that are not kept. */
  readonly hidden: number;
}

interface OpenLine extends LogLine {
  text: string;
  carry: string;
  hidden: number;
  /** A carriage return was the last character: what follows overwrites the line. */
  returned: boolean;
}

const ESCAPE = '\u001B';
const SGR = new RegExp(`${ESCAPE}\\[([\\d;]*)m`, 'g');

export class LogBuffer {
  #lines: OpenLine[] = [];
  #open: Partial<Record<StreamName, OpenLine>> = {};
  #carry: Record<StreamName, string> = { system: '', stdout: '', stderr: '' };
  #dropped: number;
  #characters = 0;
  #end: number;
  #total: number | undefined;

  /** `start`: what lies before, in lines and bytes. */
  constructor(
    private readonly limits = { lines: MAX_LINES, characters: MAX_CHARACTERS },
    start = { lines: 0, bytes: 0 },
  ) {
    this.#dropped = start.lines;
    this.#end = start.bytes;
  }

  /** Bytes up to here are taken: where a new subscription begins. */
  get end(): number {
    return this.#end;
  }
  /** All bytes are here. */
  get complete(): boolean {
    return this.#total !== undefined && this.#end >= this.#total;
  }
  /** Lines that are kept. */
  get count(): number {
    return this.#lines.length;
  }
  /** Lines from the start of the log that are not here. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The line at an index from 0 among those that are kept; its number is `dropped + index + 1`. */
  line(index: number): LogLine | undefined {
    return this.#lines[index];
  }

  /** `gap`: bytes are missing before this piece; nothing was taken. `old`: all of it is here already. */
  append(piece: LogPiece): 'taken' | 'old' | 'gap' {
    if (piece.offset > this.#end) return 'gap';
    const after = piece.offset + piece.length;
    // One of no bytes is text that was held back: a character that stayed unfinished.
    if (after <= this.#end && piece.length > 0) return 'old';
    const text =
      piece.offset === this.#end || piece.length === 0
        ? piece.text
        : withoutBytes(piece.text, this.#end - piece.offset);
    this.#end = Math.max(this.#end, after);
    this.#write(piece.stream, text);
    this.#trim();
    return 'taken';
  }

  /** The log ends at this many bytes. */
  finish(bytes: number): void {
    this.#total = bytes;
  }

  #write(stream: StreamName, text: string): void {
    let at = 0;
    while (at < text.length) {
      const newline = text.indexOf('\n', at);
      this.#extend(stream, text.slice(at, newline < 0 ? undefined : newline));
      if (newline < 0) return;
      delete this.#open[stream];
      at = newline + 1;
    }
  }

  #extend(stream: StreamName, part: string): void {
    const line = (this.#open[stream] ??= this.#begin(stream));
    if (part === '') return;
    if (part.includes(ESCAPE)) this.#carry[stream] = carryOver(this.#carry[stream], part);
    let shown = part;
    const returns = shown.endsWith('\r');
    if (returns) shown = shown.slice(0, -1);
    const last = shown.lastIndexOf('\r');
    if (last >= 0 || line.returned) {
      this.#characters -= line.text.length;
      Object.assign(line, { text: '', hidden: 0, carry: this.#carry[stream] });
      shown = shown.slice(last + 1);
    }
    line.returned = returns;
    // Behind what was left out nothing is put any more, even if a whole character left room for a short one.
    const kept = line.hidden > 0 ? '' : cutText(shown, LINE_CHARACTERS - line.text.length);
    line.hidden += shown.length - kept.length;
    line.text += kept;
    this.#characters += kept.length;
  }

  #begin(stream: StreamName): OpenLine {
    const line = { stream, text: '', carry: this.#carry[stream], hidden: 0, returned: false };
    this.#lines.push(line);
    return line;
  }

  /** A tenth at once, so that dropping costs little per line. */
  #trim(): void {
    if (this.#lines.length <= this.limits.lines && this.#characters <= this.limits.characters)
      return;
    let count = 0;
    const keepLines = this.limits.lines * 0.9;
    const keepCharacters = this.limits.characters * 0.9;
    while (
      count < this.#lines.length - 1 &&
      (this.#lines.length - count > keepLines || this.#characters > keepCharacters)
    ) {
      this.#characters -= this.#lines[count]?.text.length ?? 0;
      count += 1;
    }
    this.#lines.splice(0, count);
    this.#dropped += count;
  }
}

/** Which colour codes are in force after this text: those since the last reset. */
function carryOver(before: string, text: string): string {
  let carry = before;
  for (const [code, parameters = ''] of text.matchAll(SGR)) {
    const reset = parameters === '' || parameters === '0' || parameters.startsWith('0;');
    carry = reset ? (parameters.length > 1 ? code : '') : carry + code;
    while (carry.length > CARRY_CHARACTERS) carry = carry.slice(carry.indexOf(ESCAPE, 1));
  }
  return carry;
}

/** The text behind its first `count` bytes of UTF-8. */
function withoutBytes(text: string, count: number): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(count));
}
