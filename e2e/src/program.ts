import { eventually, patient } from '@impgem/testkit';
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Root of the repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Lines kept of a program's output, to show when a test fails. */
const KEPT_LINES = 2_000;

/**
 * One of the built programs, as a process. It runs in a process group of its own, so that nothing it leaves
 * behind can be overlooked; whoever starts it stops it.
 */
export class Program {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  #rest = '';
  #stdout = '';
  exitCode: number | null = null;
  /** Settles with the exit code (137 for KILL, 143 for TERM) when all output is read. */
  readonly exited: Promise<number>;

  constructor(
    readonly name: string,
    command: readonly string[],
    env: Record<string, string>,
    cwd: string = ROOT,
    /** `pipe`: an input that stays open, as at a terminal where nobody types. */
    stdin: 'ignore' | 'pipe' = 'ignore',
  ) {
    const [file = '', ...args] = command;
    this.#child = spawn(file, args, {
      cwd,
      // as `impgem` starts them
      env: { MALLOC_ARENA_MAX: '2', ...inherited(), ...env },
      stdio: [stdin, 'pipe', 'pipe'],
      detached: true,
    });
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      this.#stdout += bytes.toString();
      this.#take(bytes);
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => this.#take(bytes));
    this.exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        this.exitCode = code ?? (signal === 'SIGKILL' ? 137 : 143);
        resolve(this.exitCode);
      });
    });
    this.exited.catch(() => undefined);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What it has printed so far, both streams, the last lines. */
  get output(): string {
    return [...this.#lines, this.#rest].join('\n');
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Waits for a line of output that the test takes. */
  async line(matches: (line: string) => boolean, timeoutMs = 60_000): Promise<string> {
    return eventually(
      () => {
        const found = this.#lines.find(matches);
        if (found !== undefined) return found;
        if (this.exitCode !== null)
          throw new Error(
            `${this.name} ended with ${this.exitCode}:\n${this.output.slice(-4_000)}`,
          );
        return undefined;
      },
      { timeoutMs, what: `a line of ${this.name}`, saw: () => this.output.slice(-4_000) },
    );
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for its end by itself; when it does not come, kills its whole group and fails with what it said. */
  async ended(timeoutMs = 60_000): Promise<number> {
    const code = await this.#within(timeoutMs);
    if (code !== undefined) return code;
    process.kill(-this.pid, 'SIGKILL');
    await this.exited;
    throw new Error(
      `${this.name} did not end within ${patient(timeoutMs)} ms:\n${this.output.slice(-6_000)}`,
    );
  }

  /** As `ended`, and fails with what it said when the exit code is not 0. */
  async succeeds(timeoutMs?: number): Promise<void> {
    const code = await this.ended(timeoutMs);
    if (code !== 0)
      throw new Error(`${this.name} ended with ${code}:\n${this.output.slice(-8_000)}`);
  }

  /** TERM, and KILL to its whole group when it does not end in time; fails the test in that case. */
  async stop(timeoutMs = 30_000): Promise<number> {
    if (this.exitCode !== null) return this.exitCode;
    this.kill('SIGTERM');
    const ended = await this.#within(timeoutMs);
    if (ended !== undefined) return ended;
    process.kill(-this.pid, 'SIGKILL');
    await this.exited;
    throw new Error(
      `${this.name} did not end on TERM within ${patient(timeoutMs)} ms:\n${this.output.slice(-4_000)}`,
    );
  }

  async #within(timeoutMs: number): Promise<number | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), patient(timeoutMs));
    });
    try {
      return await Promise.race([this.exited, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #take(bytes: Buffer): void {
    const lines = (this.#rest + bytes.toString()).split('\n');
    this.#rest = lines.pop() ?? '';
    this.#lines.push(...lines);
    if (this.#lines.length > KEPT_LINES) this.#lines.splice(0, this.#lines.length - KEPT_LINES);
  }
}

/** Our own environment without what belongs to a farm, or to Jest, which started us. */
function inherited(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name, value]) =>
      value !== undefined && !/^(IMPGEM_|DATABASE_URL$|NODE_OPTIONS$|NODE_ENV$|JEST_)/.test(name),
  );
  return Object.fromEntries(kept) as Record<string, string>;
}
