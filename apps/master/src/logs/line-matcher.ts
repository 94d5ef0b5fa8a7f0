/**
 * Finds lines of a log in which a text or a regular expression occurs. Runs in a thread of its own; pure. Each line
 * is told once, with its first occurrence; one beyond MAX_LINE is searched in parts.
 */
export interface SearchQuery {
  text: string;
  regex: boolean;
  ignoreCase: boolean;
}

export interface SearchChunk {
  bytes: Buffer;
  /** Where it begins in the log. */
  offset: number;
  /** Newlines of the log before it. */
  line: number;
  /** Index into STREAMS. */
  stream: number;
  atMs: number;
}

export interface LineMatch {
  /** From 1. */
  line: number;
  /** Of the occurrence, in bytes of the log. */
  offset: number;
  length: number;
  stream: number;
  atMs: number;
  /** The line, or what lies around the occurrence, and where that is in it (UTF-16). */
  text: string;
  start: number;
  end: number;
}

export const MAX_LINE = 64 * 1024;
/** Of the text of a match, in bytes: before the occurrence, and in all. */
const BEFORE = 200;
const EXCERPT = 1000;
const NEWLINE = 0x0a;

/** A piece of the window that comes from one chunk. */
interface Segment extends Omit<SearchChunk, 'bytes'> {
  /** Where it begins in the window. */
  start: number;
}

export class LineMatcher {
  /** First occurrences of the lines between two places in the window. */
  readonly #occurrences: (from: number, to: number) => Iterable<Found>;
  /** What is kept of a line that is searched in parts, so that nothing is missed between them. */
  readonly #overlap: number;
  #window: Buffer = Buffer.alloc(0);
  #segments: Segment[] = [];
  #resume = 0;
  /** Of a line that was told and has not ended. */
  #told = false;

  /** `progress` hears which line (from 1) is looked at next, before anything that may take long. */
  constructor(
    query: SearchQuery,
    private readonly progress: (line: number) => void = () => undefined,
  ) {
    const plain = !query.regex && !query.ignoreCase;
    this.#occurrences = plain ? this.#plain(query.text) : this.#expression(query);
    this.#overlap = plain ? Buffer.byteLength(query.text) - 1 : 0;
  }

  /** Nothing waits for its end. */
  get idle(): boolean {
    return this.#window.length === 0;
  }

  /** Where to go on after what was told: the first byte of a line. */
  get resume(): number {
    return this.#resume;
  }

  /**
   * Takes the next chunks and tells the lines that match, at most `limit`; then the rest of what was given is not
   * searched, and the matcher is of no more use. `last`: no more comes.
   */
  feed(chunks: readonly SearchChunk[], last: boolean, limit: number): LineMatch[] {
    this.#append(chunks);
    const matches: LineMatch[] = [];
    const window = this.#window;
    const ended = window.lastIndexOf(NEWLINE) + 1;
    // A line that goes on is looked at when it has ended, or is too long to wait for.
    const cut = !last && window.length - ended < MAX_LINE ? ended : window.length;
    let from = this.#told ? this.#behindLine(0) : 0;
    if (from < cut && matches.length < limit)
      for (const found of this.#occurrences(from, cut)) {
        matches.push(this.#match(found));
        from = this.#behindLine(found.to);
        if (matches.length >= limit) break;
      }
    this.#told = from > cut;
    const searched = matches.length >= limit ? Math.min(from, cut) : cut;
    this.#forget(searched > ended && !last ? Math.max(ended, searched - this.#overlap) : searched);
    return matches;
  }

  /** Where the line after the one of this byte begins; beyond the window when that has no more of it. */
  #behindLine(at: number): number {
    const newline = this.#window.indexOf(NEWLINE, at);
    return newline < 0 ? this.#window.length + 1 : newline + 1;
  }

  #append(chunks: readonly SearchChunk[]): void {
    let start = this.#window.length;
    for (const { bytes, ...chunk } of chunks) {
      this.#segments.push({ ...chunk, start });
      start += bytes.length;
    }
    this.#window = Buffer.concat([this.#window, ...chunks.map(({ bytes }) => bytes)], start);
  }

  /** Keeps the window from `at` on. */
  #forget(at: number): void {
    const [first] = this.#segments;
    if (!first) return;
    const { offset, line } = this.#place(at);
    this.#resume = offset;
    const kept = this.#segments.filter(
      (_, n) => (this.#segments[n + 1]?.start ?? this.#window.length) > at,
    );
    this.#segments = kept.map((segment) =>
      segment.start >= at
        ? { ...segment, start: segment.start - at }
        : { ...segment, start: 0, offset, line },
    );
    this.#window = Buffer.from(this.#window.subarray(at));
  }

  /** Where a byte of the window lies in the log, and how many newlines are before it. */
  #place(at: number): Segment {
    let segment = this.#segments[0] as Segment;
    for (const one of this.#segments) if (one.start <= at) segment = one;
    let { line } = segment;
    for (let n = segment.start; ; n++, line++) {
      n = this.#window.indexOf(NEWLINE, n);
      if (n < 0 || n >= at) break;
    }
    return { ...segment, line, offset: segment.offset + at - segment.start };
  }

  #match({ from, to }: Found): LineMatch {
    const window = this.#window;
    const { line, offset, stream, atMs } = this.#place(from);
    const lineStart = from === 0 ? 0 : window.lastIndexOf(NEWLINE, from - 1) + 1;
    const newline = window.indexOf(NEWLINE, to);
    const lineEnd = newline < 0 ? window.length : newline;
    const begin = Math.max(lineStart, from - BEFORE);
    const end = Math.min(lineEnd, begin + EXCERPT);
    const inside = Math.min(to, end);
    const before = window.toString('utf8', begin, from);
    const match = window.toString('utf8', from, inside);
    const text = before + match + window.toString('utf8', inside, end);
    const start = before.length;
    return {
      line: line + 1,
      offset,
      length: to - from,
      stream,
      atMs,
      text,
      start,
      end: start + match.length,
    };
  }

  #plain(text: string) {
    const needle = Buffer.from(text);
    const within = (from: number, to: number) => {
      const at = this.#window.indexOf(needle, from);
      return at < 0 || at + needle.length > to ? undefined : { from: at, to: at + needle.length };
    };
    return function* (this: LineMatcher, from: number, to: number): Generator<Found> {
      for (let found = within(from, to); found;) {
        yield found;
        const next = this.#behindLine(found.to);
        found = next < to ? within(next, to) : undefined;
      }
    }.bind(this);
  }

  #expression({ text, regex, ignoreCase }: SearchQuery) {
    const pattern = compile(regex ? text : text.replaceAll(SPECIAL, '\\$&'), ignoreCase);
    return function* (this: LineMatcher, from: number, to: number): Generator<Found> {
      const window = this.#window;
      let { line } = this.#place(from);
      // The newline that ends what is looked at begins no line.
      const whole = window[to - 1] === NEWLINE ? to - 1 : to;
      let at = from;
      for (const content of window.toString('utf8', from, whole).split('\n')) {
        this.progress(++line);
        const newline = window.indexOf(NEWLINE, at);
        const end = newline < 0 || newline > whole ? whole : newline;
        const found = inParts(pattern, content);
        if (found) {
          const bytes = window.subarray(at, end);
          yield {
            from: at + byteOf(bytes, content, found.index),
            to: at + byteOf(bytes, content, found.index + found.length),
          };
        }
        at = end + 1;
      }
    }.bind(this);
  }
}

function inParts(pattern: RegExp, line: string): { index: number; length: number } | undefined {
  for (let part = 0; part === 0 || part < line.length; part += MAX_LINE) {
    const found = pattern.exec(line.length > MAX_LINE ? line.slice(part, part + MAX_LINE) : line);
    if (found) return { index: part + found.index, length: found[0].length };
  }
  return undefined;
}

interface Found {
  from: number;
  to: number;
}

const SPECIAL = /[$()*+.?[\\\]^{|}]/g;

/** Throws `SyntaxError`. Each line stands alone, so `^` and `$` need no flag. */
function compile(pattern: string, ignoreCase: boolean): RegExp {
  return new RegExp(pattern, `${ignoreCase ? 'i' : ''}${isUnicode(pattern) ? 'u' : ''}`);
}

/** Whether it has what only Unicode expressions have, `\p{…}` and `\u{…}`. */
export function isUnicode(pattern: string): boolean {
  return /\\[pPu]\{/.test(pattern);
}

/** At which byte the character (UTF-16) of the text begins that these bytes are. */
function byteOf(bytes: Buffer, text: string, index: number): number {
  if (!text.includes('\uFFFD')) return Buffer.byteLength(text.slice(0, index));
  // Bytes that are no UTF-8 have another length as text: the longest beginning that is not too long.
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (bytes.toString('utf8', 0, middle).length <= index) low = middle;
    else high = middle - 1;
  }
  return low;
}
