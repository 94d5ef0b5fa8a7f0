import { readFileSync, readlinkSync } from 'node:fs';

/** A process that cannot be taken for a later one with the same number. */
export interface Identity {
  pid: number;
  /** When it started, in clock ticks since the machine did. */
  start: string;
  /** Its program, by the kernel's word. */
  exe: string;
}

/** Who runs under this number; undefined when nobody does, or it has ended and was not reaped yet. */
export function identify(pid: number): Identity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything; `state` is the third field, the start the 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const start = fields[19];
    if (start === undefined || fields[0] === 'Z' || fields[0] === 'X') return undefined;
    // A program that was replaced since is the same one still.
    const exe = readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '');
    return { pid, start, exe };
  } catch {
    return undefined;
  }
}

/** Whether that very process still runs. What is read from a file may be anything. */
export function isRunning(given: unknown): boolean {
  const { pid, start, exe } = (given ?? {}) as Partial<Record<keyof Identity, unknown>>;
  if (!isPid(pid)) return false;
  const now = identify(pid);
  return now !== undefined && now.start === start && now.exe === exe;
}

/**
 * Versions before this one kept a number and a file. Whether the process is one of Node's, of this very program, with
 * that file as one of its arguments.
 */
export function runsFile(pid: unknown, matches: (argument: string) => boolean): pid is number {
  if (!isPid(pid) || identify(pid)?.exe !== process.execPath) return false;
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(1, 4).some(matches);
  } catch {
    return false;
  }
}

const isPid = (pid: unknown): pid is number =>
  typeof pid === 'number' && Number.isInteger(pid) && pid > 1;
