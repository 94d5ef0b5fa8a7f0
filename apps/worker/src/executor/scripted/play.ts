import { REASONS } from '@impgem/protocol';
import type { ReasonCode } from '@impgem/protocol';

/** One line of a play. Times in milliseconds. */
export type Act =
  | { do: 'print'; stream: 'stdout' | 'stderr'; bytes: Uint8Array }
  /** `count` bytes, the pattern 0, 1, … 255, 0, … */
  | { do: 'bytes'; stream: 'stdout' | 'stderr'; count: number }
  /** Numbered lines `line 1` … `line count`, one each `everyMs`. */
  | { do: 'lines'; stream: 'stdout' | 'stderr'; count: number; everyMs: number }
  | { do: 'sleep'; ms: number }
  /** Goes on when a file of the machine (not of the workspace) exists. */
  | { do: 'wait-file'; path: string }
  | { do: 'exit'; code: number }
  /** Ends by a reason, as the engine would tell it. */
  | { do: 'die'; code: ReasonCode; message: string }
  | { do: 'fail-start'; code: ReasonCode; message: string }
  | { do: 'ignore-term' }
  /** Goes on with the next act although this one, printed later, is still to come: a child left behind. */
  | { do: 'orphan'; ms: number; bytes: Uint8Array }
  | { do: 'env'; name: string }
  | { do: 'write'; path: string; bytes: Uint8Array }
  | { do: 'link'; path: string; target: string }
  | { do: 'cat'; path: string };

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A word and the rest of a line. */
function head(line: string): [string, string] {
  const at = line.search(/\s/);
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
}

function stream(word: string): 'stdout' | 'stderr' {
  if (word !== 'stdout' && word !== 'stderr') throw new Error(`no stream ${JSON.stringify(word)}`);
  return word;
}

function count(word: string): number {
  const value = Number(word);
  if (word === '' || !Number.isSafeInteger(value) || value < 0) {
    throw new Error(`${JSON.stringify(word)} is no count`);
  }
  return value;
}

function reason(word: string): ReasonCode {
  if (!Object.hasOwn(REASONS, word)) throw new Error(`no reason ${JSON.stringify(word)}`);
  return word as ReasonCode;
}

const READERS: Record<string, (rest: string) => Act> = {
  stdout: (rest) => ({ do: 'print', stream: 'stdout', bytes: encode(`${rest}\n`) }),
  stderr: (rest) => ({ do: 'print', stream: 'stderr', bytes: encode(`${rest}\n`) }),
  base64: (rest) => {
    const [to, data] = head(rest);
    return { do: 'print', stream: stream(to), bytes: Buffer.from(data, 'base64') };
  },
  bytes: (rest) => {
    const [first, second] = head(rest);
    return second === ''
      ? { do: 'bytes', stream: 'stdout', count: count(first) }
      : { do: 'bytes', stream: stream(first), count: count(second) };
  },
  lines: (rest) => {
    const [to, numbers] = head(rest);
    const [many, every] = head(numbers);
    return {
      do: 'lines',
      stream: stream(to),
      count: count(many),
      everyMs: every === '' ? 0 : count(every),
    };
  },
  sleep: (rest) => ({ do: 'sleep', ms: count(rest.trim()) }),
  'wait-file': (rest) => ({ do: 'wait-file', path: rest }),
  exit: (rest) => ({ do: 'exit', code: count(rest.trim()) }),
  oom: () => ({
    do: 'die',
    code: 'out-of-memory',
    message: 'killed by its memory limit',
  }),
  die: (rest) => {
    const [code, message] = head(rest);
    return { do: 'die', code: reason(code), message: message || code };
  },
  'fail-start': (rest) => {
    const [code, message] = head(rest);
    return { do: 'fail-start', code: reason(code), message: message || code };
  },
  'ignore-term': () => ({ do: 'ignore-term' }),
  orphan: (rest) => {
    const [ms, text] = head(rest);
    return { do: 'orphan', ms: count(ms), bytes: encode(`${text}\n`) };
  },
  env: (rest) => ({ do: 'env', name: rest.trim() }),
  write: (rest) => {
    const [path, text] = head(rest);
    return { do: 'write', path, bytes: encode(`${text}\n`) };
  },
  link: (rest) => {
    const [path, target] = head(rest);
    return { do: 'link', path, target };
  },
  cat: (rest) => ({ do: 'cat', path: rest }),
};

/**
 * Reads the play of a scripted step, one act a line; blank lines and `#` comments are passed over:
 *
 *     stdout TEXT            a line of text; also `stderr TEXT`
 *     base64 STREAM DATA     bytes as they are, e.g. without a newline
 *     bytes [STREAM] N       N bytes of the pattern 0 … 255
 *     lines STREAM N [MS]    numbered lines, one each MS
 *     sleep MS               · wait-file PATH   until that file of the machine exists
 *     exit N                 · oom · die REASON TEXT
 *     fail-start REASON TEXT the step cannot be started
 *     ignore-term            only KILL ends it from here on
 *     orphan MS TEXT         a child that would print after MS, without the step waiting for it
 *     env NAME               prints the variable · cat PATH prints a file of the workspace
 *     write PATH TEXT        · link PATH TARGET
 *
 * Throws an `Error` that names the line. Play that runs to its end exits with 0.
 */
export function readPlay(text: string): Act[] {
  return text.split('\n').flatMap((line, index) => {
    const trimmed = line.trimStart();
    if (trimmed === '' || trimmed.startsWith('#')) return [];
    const [word, rest] = head(trimmed);
    const read = READERS[word];
    if (!read) throw new Error(`line ${index + 1} of the play: no act ${JSON.stringify(word)}`);
    try {
      return [read(rest)];
    } catch (cause) {
      throw new Error(`line ${index + 1} of the play: ${(cause as Error).message}`, { cause });
    }
  });
}
