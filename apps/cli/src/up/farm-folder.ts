import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UsageError } from '../exit-codes.js';
import { takeFolder } from '../own-folder.js';
import { GRACE_MS, QUICK_MS } from './child.js';
import { identify, isRunning, runsFile, type Identity } from './program-identity.js';

interface Running {
  /** `impgem up` itself. */
  up: Identity | undefined;
  url: string;
  /** Programs that it started. */
  programs: (Identity & { file: string })[];
}

/** What a file may hold: a version before this one wrote `pid` for `up`, and no `start` and `exe`. */
interface Found {
  up?: unknown;
  pid?: unknown;
  url?: unknown;
  programs?: unknown;
}

/** The data folder of `impgem up`: one farm at a time runs in it. */
export class FarmFolder {
  readonly #state: string;
  constructor(
    readonly path: string,
    /** Whoever started us named it; else it was found in the current folder, where anybody may have put it. */
    readonly named: boolean,
  ) {
    this.#state = join(path, 'up.json');
  }

  readonly at = (...parts: string[]): string => join(this.path, ...parts);

  /**
   * Makes the folder. Refuses one that somebody else has filled, and one where a farm runs. Programs that an `up` left
   * behind which was killed are stopped first, since they hold the folder's database.
   */
  async claim(say: (line: string) => void): Promise<void> {
    const { path } = this;
    const refused = takeFolder(path, this.named);
    if (refused !== undefined) throw new UsageError(refused);
    const before = this.#read();
    if (!before) return;
    const pid = pidOf(before);
    if (pid !== undefined && pid !== process.pid)
      throw new UsageError(
        `a farm runs in ${path} already, at ${String(before.url)} (pid ${pid}); ` +
          'stop it first, or use another folder with --data',
      );
    for (const program of leftBehind(before.programs)) {
      say(`stopping ${program.file} (pid ${program.pid}), left behind by a farm that was killed`);
      await end(program);
    }
    this.release();
  }

  write({ url, programs }: { url: string; programs: { pid: number; file: string }[] }): void {
    const running: Running = {
      up: identify(process.pid),
      url,
      programs: programs.flatMap(({ pid, file }) => {
        const identity = identify(pid);
        return identity ? [{ ...identity, file }] : [];
      }),
    };
    writeFileSync(this.#state, JSON.stringify(running), { mode: 0o600 });
    const client = { url, tokenFile: 'master/admin-token' };
    writeFileSync(this.at('client.json'), JSON.stringify(client), { mode: 0o600 });
  }

  release(): void {
    rmSync(this.#state, { force: true });
  }

  #read(): Found | undefined {
    try {
      return JSON.parse(readFileSync(this.#state, 'utf8')) as Found;
    } catch {
      return undefined;
    }
  }
}

const isCli = (argument: string) => /(\/impgem(\.js)?|cli\/bundle\/main\.js)$/.test(argument);

/** The number of the `impgem up` that runs here. */
function pidOf({ up, pid }: Found): number | undefined {
  if (isRunning(up)) return (up as Identity).pid;
  return up === undefined && runsFile(pid, isCli) ? pid : undefined;
}

/** Those that still run, the last one first. */
function leftBehind(programs: unknown): (Identity & { file: string })[] {
  const all = Array.isArray(programs) ? (programs as unknown[]) : [];
  return all.toReversed().flatMap((given) => {
    const { pid, start, file } = (given ?? {}) as Record<string, unknown>;
    if (typeof file !== 'string' || !isAbsolute(file)) return [];
    if (isRunning(given)) return [{ ...(given as Identity), file }];
    if (start !== undefined || !runsFile(pid, (argument) => argument === file)) return [];
    const identity = identify(pid);
    return identity ? [{ ...identity, file }] : [];
  });
}

async function end(program: Identity): Promise<void> {
  for (const [signal, ms] of [
    ['SIGTERM', GRACE_MS],
    ['SIGTERM', QUICK_MS],
    ['SIGKILL', GRACE_MS],
  ] as const) {
    if (!isRunning(program)) return;
    process.kill(program.pid, signal);
    for (const until = Date.now() + ms; Date.now() < until; await sleep(100)) {
      if (!isRunning(program)) return;
    }
  }
}
