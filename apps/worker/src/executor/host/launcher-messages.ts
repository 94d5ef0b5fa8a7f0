/** What the worker asks of the launcher. Times in milliseconds. */
export type LauncherRequest =
  | {
      ask: 'start';
      id: string;
      /** Shell text for `sh -e -c`. */
      run: string;
      cwd: string;
      env: Record<string, string>;
      /** Absolute; `stdout`, `stderr` and `exit` are made in it. */
      folder: string;
    }
  | { ask: 'stop'; id: string; graceMs: number }
  /** Freezes the step while its output is behind, and lets it go on. */
  | { ask: 'hold' | 'release'; id: string };

/** The end of a process, as in the file `exit` of the step's folder. */
export interface ProcessExit {
  code: number | null;
  signal: string | null;
}

/** What the launcher tells. */
export type LauncherReport =
  | { tell: 'started'; id: string; pid: number }
  | { tell: 'failed'; id: string; code: string; message: string }
  | ({ tell: 'exited'; id: string } & ProcessExit);
