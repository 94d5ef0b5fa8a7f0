/** What the worker asks of the launcher. Times in milliseconds. */
export type LauncherRequest =
  | {
      ask: 'start';
      id: string;
      /** Shell text for `sh -e -c`. */
      run: string;
      cwd: string;
      env: Record<string, string>;
      /** Absolute; `stdout`, `stderr`, `process` and `exit` are made in it. */
      folder: string;
    }
  | { ask: 'stop'; id: string; graceMs: number }
  /** Freezes the step while its output is behind, and lets it go on. */
  | { ask: 'hold' | 'release'; id: string };

/** The end of a process, as in the file `exit` of the step's folder. */
export interface ProcessExit {
  code: number | null;
  signal: string | null;
  /** It could not be started. */
  failed?: { code: string; message: string };
}

/**
 * Which process a step is, as in the file `process` of its folder. Whoever makes that file decides: the launcher,
 * then the step runs; or a worker that takes the step up, then it never will.
 */
export interface ProcessId {
  pid: number;
  /** When it was started, in the kernel's ticks: a process with the same id but another start is another one. */
  start: string;
}

/** What the launcher tells. */
export type LauncherReport =
  | { tell: 'started'; id: string; pid: number }
  | { tell: 'failed'; id: string; code: string; message: string }
  | ({ tell: 'exited'; id: string } & ProcessExit);
