import Table from 'cli-table3';
import pico from 'picocolors';
import { harmless, harmlessJson } from './harmless.js';

export { harmless };

type Colours = ReturnType<typeof pico.createColors>;

/**
 * Where the program speaks: data on stdout, talk on stderr. Colours only where that stream is a terminal; there, what
 * could steer it is taken out of all that is said, by `raw` alone it is not. A pipe gets what is said as it is.
 */
export interface Terminal {
  /** Data for programs and for pipes. */
  out(text: string): void;
  /** A line of data. */
  print(line: string): void;
  /** A line of JSON. */
  json(value: unknown): void;
  /** Bytes of stdout as they are: for what was asked for so, and for what was made harmless already. */
  raw(bytes: string | Uint8Array): void;
  /** Characters in a row of stdout; undefined where it is no terminal. */
  columns(): number | undefined;
  /** Settles when the reader of stdout has caught up; undefined while it keeps pace. */
  full(): Promise<void> | undefined;
  /** A line for the person in front. */
  say(line: string): void;
  /** Colours of stdout. */
  colour: Colours;
  /** Colours of stderr. */
  talk: Colours;
  /** Whether stdout is a terminal. */
  tty: boolean;
  /** Whether stderr is one: progress bars are drawn. */
  talkTty: boolean;
}

interface Sink {
  write(text: string | Uint8Array): unknown;
  isTTY?: boolean;
  columns?: number;
  writableNeedDrain?: boolean;
  once?(event: 'drain', listener: () => void): unknown;
}

export function createTerminal(stdout: Sink, stderr: Sink, noColour: boolean): Terminal {
  const tty = stdout.isTTY === true;
  const talkTty = stderr.isTTY === true;
  const onto = (stream: Sink, isTerminal: boolean) => (text: string) =>
    void stream.write(isTerminal ? closed(harmless(text)) : text);
  const out = onto(stdout, tty);
  const talk = onto(stderr, talkTty);
  return {
    out,
    print: (line) => out(`${line}\n`),
    json: (value) => out(`${tty ? harmlessJson(value) : JSON.stringify(value)}\n`),
    raw: (bytes) => void stdout.write(bytes),
    columns: () => (tty ? stdout.columns : undefined),
    full: () =>
      stdout.writableNeedDrain
        ? new Promise((resolve) => stdout.once?.('drain', resolve))
        : undefined,
    say: (line) => talk(`${line}\n`),
    colour: pico.createColors(tty && !noColour),
    talk: pico.createColors(talkTty && !noColour),
    tty,
    talkTty,
  };
}

/** A colour that a text leaves on would colour what comes next. */
const closed = (text: string): string =>
  text.includes('\u001b') ? text.replace(/\n?$/, (end) => `\u001b[0m${end}`) : text;

/** Rows under headings, without a frame; cells are made harmless. */
export function table({ colour, print }: Terminal, headings: string[], rows: string[][]): void {
  const none = Object.fromEntries(
    [
      'top',
      'top-mid',
      'top-left',
      'top-right',
      'bottom',
      'bottom-mid',
      'bottom-left',
      'bottom-right',
    ]
      .concat(['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid', 'middle'])
      .map((part) => [part, part === 'middle' ? '  ' : '']),
  );
  const lines = new Table({
    head: headings.map((heading) => colour.dim(heading)),
    chars: none,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) lines.push(row.map(harmless));
  print(lines.toString().replaceAll(/[^\S\n]+$/gm, ''));
}

const two = (n: number) => String(n).padStart(2, '0');

/** `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 03 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} min`;
}

/** `512 B`, `1.5 KiB`, `3.0 GiB`. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return `${power === 0 ? bytes : (bytes / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** `3 min ago`; absent: `-`. */
export function ago(time: string | null, now = Date.now()): string {
  if (time === null) return '-';
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 86_400
    ? `${Math.floor(seconds / 3600)} h ago`
    : `${Math.floor(seconds / 86_400)} d ago`;
}
