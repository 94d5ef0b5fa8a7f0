import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { FarmError, cutText } from '@impgem/kit';
import { inherited } from '../config.js';
import { Interrupted } from '../exit-codes.js';

/**
 * How long a program has for a graceful stop, then for a quick one, in milliseconds. A worker gives its builds 20 s to
 * end and its engine 20 s to remove what was made for them: one that is killed before leaves that behind.
 */
export const GRACE_MS = 10_000;
export const QUICK_MS = 45_000;
/** Lines of its log that are shown when it fails. */
const TAIL = 8;

const alive = new Set<ChildProcess>();
// The last resort, for an end of this process that nothing else foresaw: asked to stop, they do so without us.
process.on('exit', () => {
  for (const child of alive) child.kill('SIGTERM');
});

/** Whether a program that was started here still runs. */
export const anyRunning = (): boolean => alive.size > 0;

/**
 * A program that `impgem up` runs. It has a process group of its own, so that Ctrl-C reaches only us and we stop
 * the programs in order. Its log goes to a file.
 */
export class Child {
  readonly exited: Promise<void>;
  /** How it ended; undefined while it runs. */
  end: string | undefined;
  readonly #child: ChildProcess;
  readonly #tail: string[] = [];
  #awaited: (line: string) => void = () => {};
  /** Told of each line of its log. */
  onLine: (line: string) => void = () => {};

  constructor(
    readonly name: string,
    file: string,
    env: Record<string, string | undefined>,
    readonly logFile: string,
  ) {
    mkdirSync(dirname(logFile), { recursive: true });
    const log = createWriteStream(logFile, { flags: 'a', mode: 0o600 });
    this.#child = spawn(process.execPath, ['--enable-source-maps', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: inherited(env),
    });
    alive.add(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (!stream) continue;
      stream.pipe(log, { end: false });
      createInterface({ input: stream }).on('line', (line) => {
        this.#tail.push(line);
        this.#tail.splice(0, this.#tail.length - TAIL);
        this.#awaited(line);
        this.onLine(line);
      });
    }
    this.exited = new Promise((resolve) => {
      const over = (end: string) => {
        alive.delete(this.#child);
        this.end ??= end;
        log.end();
        resolve();
      };
      this.#child.on('error', (error) => over(error.message));
      // `close` comes after the last line of its output.
      this.#child.on('close', (code, signal) => over(signal ?? `exit code ${code}`));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Waits until `ready` answers something other than undefined; it is asked with each line of the log, or four
   * times a second. Rejects when the program ends before, when it takes longer than `ms`, or when it is aborted.
   */
  async waitFor<T>(
    what: string,
    ready: { line(line: string): T | undefined } | { poll(): Promise<T | undefined> },
    { ms, signal }: { ms: number; signal: AbortSignal },
  ): Promise<T> {
    let found: T | undefined;
    if ('line' in ready) this.#awaited = (line) => void (found ??= ready.line(line));
    const until = Date.now() + ms;
    while (found === undefined) {
      if (signal.aborted) throw new Interrupted('interrupted');
      if (this.end !== undefined) throw this.failed(`ended before it was ${what} (${this.end})`);
      if (Date.now() > until) throw this.failed(`is not ${what} after ${ms / 1000} s`);
      if ('poll' in ready) found = await ready.poll();
      if (found === undefined) await Promise.race([sleep('line' in ready ? 50 : 250), this.exited]);
    }
    return found;
  }

  /** An error that shows the end of its log. */
  failed(what: string): FarmError {
    const lines = this.#tail.map((line) => `  ${readable(line)}`).join('\n');
    return new FarmError(
      'program-failed',
      `the ${this.name} ${what}${lines ? `; its log ends with\n${lines}` : ''}\n  the whole log: ${this.logFile}`,
    );
  }

  /** Gracefully; then quickly; then by force. Never rejects. */
  async stop(): Promise<void> {
    for (const [signal, ms] of [
      ['SIGTERM', GRACE_MS],
      ['SIGTERM', QUICK_MS],
    ] as const) {
      if (this.end !== undefined) return;
      this.#child.kill(signal);
      await Promise.race([this.exited, sleep(ms, undefined, { ref: false })]);
    }
    if (this.end === undefined) killGroup(this.#child);
    await this.exited;
  }
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** The message of a JSON log line, with its error; other lines as they are. */
function readable(line: string): string {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    return [msg, err?.message].filter(Boolean).join(': ') || line;
  } catch {
    return cutText(line, 500);
  }
}
