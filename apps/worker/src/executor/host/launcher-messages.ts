/** What the worker asks of the launcher. Times in milliseconds. */
export type LauncherRequest =
  | {
      ask: 'start';
      id: string;
      /** Shell text for `sh -e -c`. */
      run: string;
      cwd: string;
      env: Record<string, string>;
      /** What the names of its files begin with; absolute. */
      files: string;
    }
  | { ask: 'stop'; id: string; graceMs: number }
  /** Reads no more of the step's output while the worker is behind with it, and goes on. */
  | { ask: 'hold' | 'release'; id: string };

/**
 * The files of a step, beside each other since some file systems take long for each folder that is made. `process` has
 * two lines, each ended by a newline: which process the step is, empty when it became none, and its end.
 *
 * Whoever makes `process` decides: the launcher, then the step runs; or a worker that takes the step up, then it never
 * will.
 */
export const FILES = ['stdout', 'stderr', 'process'] as const;

export const fileOf = (files: string, name: (typeof FILES)[number]): string => `${files}.${name}`;

/** The end of a process. */
export interface ProcessExit {
  code: number | null;
  signal: string | null;
  /** It could not be started. */
  failed?: { code: string; message: string };
  /** Bytes of output that were written into its files; absent in notes of older versions. */
  wrote?: { stdout: number; stderr: number };
  /** Its output could not be kept from some point on; it was ended for that. */
  lost?: { code: string; message: string };
}

/** Which process a step is. */
export interface ProcessId {
  pid: number;
  /** When it was started, in the kernel's ticks: a process with the same id but another start is another one. */
  start: string;
}

/** What the launcher notes of a step that it has started. */
export interface ProcessNote extends ProcessId {
  /** Without it nobody reads the step's output, or will ever note its exit; absent in notes of older versions. */
  launcher?: ProcessId;
}

/** What the launcher tells. */
export type LauncherReport =
  | { tell: 'started'; id: string; pid: number }
  | { tell: 'failed'; id: string; code: string; message: string }
  | ({ tell: 'exited'; id: string } & ProcessExit);
