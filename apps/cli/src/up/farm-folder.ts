import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UsageError } from '../exit-codes.js';
import { GRACE_MS, QUICK_MS } from './child.js';

interface Running {
  /** Of `impgem up`. */
  pid: number;
  url: string;
  /** Programs that it started: pid and file. */
  programs: { pid: number; file: string }[];
}

/** The data folder of `impgem up`: one farm at a time runs in it. */
export class FarmFolder {
  readonly #state: string;
  constructor(readonly path: string) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    this.#state = join(path, 'up.json');
  }

  readonly at = (...parts: string[]): string => join(this.path, ...parts);

  /**
   * Refuses when a farm runs here. Programs that an `up` left behind which was killed are stopped first, since
   * they hold the folder's database.
   */
  async claim(say: (line: string) => void): Promise<void> {
    const before = this.#read();
    if (!before) return;
    if (before.pid !== process.pid && isOurs(before.pid, 'impgem'))
      throw new UsageError(
        `a farm runs in ${this.path} already, at ${before.url} (pid ${before.pid}); ` +
          'stop it first, or use another folder with --data',
      );
    for (const { pid, file } of before.programs.toReversed()) {
      if (!isOurs(pid, file)) continue;
      say(`stopping ${file} (pid ${pid}), left behind by a farm that was killed`);
      await end(pid, file);
    }
    this.release();
  }

  write(running: Running): void {
    writeFileSync(this.#state, JSON.stringify(running), { mode: 0o600 });
    const client = { url: running.url, tokenFile: 'master/admin-token' };
    writeFileSync(this.at('client.json'), JSON.stringify(client), { mode: 0o600 });
  }

  release(): void {
    rmSync(this.#state, { force: true });
  }

  #read(): Running | undefined {
    try {
      return JSON.parse(readFileSync(this.#state, 'utf8')) as Running;
    } catch {
      return undefined;
    }
  }
}

/** Whether the process is alive and runs this: a pid alone may be another's by now. */
function isOurs(pid: number, what: string): boolean {
  try {
    process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(what);
  } catch {
    return false;
  }
}

async function end(pid: number, file: string): Promise<void> {
  for (const [signal, ms] of [
    ['SIGTERM', GRACE_MS],
    ['SIGTERM', QUICK_MS],
    ['SIGKILL', GRACE_MS],
  ] as const) {
    process.kill(pid, signal);
    for (const until = Date.now() + ms; Date.now() < until; await sleep(100)) {
      if (!isOurs(pid, file)) return;
    }
  }
}
