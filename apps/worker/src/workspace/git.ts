import { FarmError } from '@impgem/kit';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

export interface GitRun {
  cwd?: string;
  /** Transports that git may use for this command, e.g. `['https', 'ssh']`. */
  protocols: readonly string[];
  /** Takes what git tells (its stderr), a line at a time, progress thinned out. */
  log: (line: string) => void;
  signal: AbortSignal;
  /** The command is ended when it has been silent for so long, in milliseconds. */
  quietMs: number;
}

/** Git ended with an error; `tail` holds its last words. */
export class GitError extends Error {
  override name = 'GitError';
  constructor(
    message: string,
    readonly tail: readonly string[],
  ) {
    super(message);
  }
}

const TAIL_LINES = 6;
const PROGRESS_EVERY_MS = 2000;
const LINE_MAX = 500;
const STDOUT_MAX = 1024 * 1024;

/**
 * No command of a repository or of the machine's own git config runs here: hooks, filters (none is configured
 * once system and global config are out), fsmonitor, credential helpers, pagers. Keys of ssh and `~/.netrc` do
 * work, since ssh and curl find them by HOME.
 */
const SAFE = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.untrackedCache=false',
  'credential.helper=',
  'protocol.ext.allow=never',
  'submodule.recurse=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'advice.detachedHead=false',
  'safe.directory=*',
].flatMap((setting) => ['-c', setting]);

function environment(protocols: readonly string[]): NodeJS.ProcessEnv {
  const { PATH, HOME, SSH_AUTH_SOCK, HTTPS_PROXY, https_proxy, NO_PROXY, no_proxy } = inherited();
  return {
    ...defined({ PATH, HOME, SSH_AUTH_SOCK, HTTPS_PROXY, https_proxy, NO_PROXY, no_proxy }),
    LC_ALL: 'C.UTF-8',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '/bin/false',
    SSH_ASKPASS: '/bin/false',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ALLOW_PROTOCOL: protocols.join(':'),
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_SSH_COMMAND: 'ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oConnectTimeout=20',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_LFS_SKIP_SMUDGE: '1',
  };
}

/** What git's own children need of the worker's environment; it is no configuration of the worker. */
function inherited(): NodeJS.ProcessEnv {
  // oxlint-disable-next-line node/no-process-env -- handed on by name, never read for a decision
  return process.env;
}

function defined(values: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/**
 * Runs git and returns what it printed to stdout (at most 1 MiB). Rejects with `GitError` when it fails or falls
 * silent, with a `FarmError` of code `cancelled` when the signal is aborted, `worker-error` when there is no git.
 */
export function git(args: readonly string[], run: GitRun): Promise<string> {
  run.signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const child = spawn('git', [...SAFE, ...args], {
      ...(run.cwd === undefined ? {} : { cwd: run.cwd }),
      env: environment(run.protocols),
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its own group, so that ssh and the remote helpers end with it.
      detached: true,
    });
    const talk = new Talk(run.log);
    let out = '';
    let quiet = false;
    const silence = setTimeout(() => {
      quiet = true;
      killGroup(child);
    }, run.quietMs);
    const abort = (): void => killGroup(child);
    run.signal.addEventListener('abort', abort, { once: true });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      silence.refresh();
      if (out.length < STDOUT_MAX) out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      silence.refresh();
      talk.take(text);
    });
    const finish = (settle: () => void): void => {
      clearTimeout(silence);
      run.signal.removeEventListener('abort', abort);
      talk.end();
      settle();
    };
    child.on('error', (cause) => finish(() => reject(cannotRun(cause))));
    child.on('close', (code, signal) =>
      finish(() => {
        if (code === 0) resolve(out);
        else if (run.signal.aborted)
          reject(new FarmError('cancelled', 'cancelled during checkout'));
        else if (quiet) {
          const seconds = Math.round(run.quietMs / 1000);
          reject(new GitError(`git ${args[0]} was silent for ${seconds} s`, talk.tail));
        } else reject(new GitError(`git ${args[0]} ended with ${signal ?? code}`, talk.tail));
      }),
    );
  });
}

function cannotRun(cause: Error): Error {
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return cause;
  return new FarmError(
    'worker-error',
    'this worker has no git; install it (Debian: apt-get install git) and start the build again',
    {},
    { cause },
  );
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

/** Splits what git says into lines; those that overwrite each other (`\r`) are let through every 2 s. */
class Talk {
  readonly tail: string[] = [];
  #rest = '';
  #lastProgress = 0;

  constructor(private readonly log: (line: string) => void) {}

  take(text: string): void {
    const parts = (this.#rest + text).split(/(?<=[\r\n])/);
    this.#rest = '';
    for (const part of parts) {
      if (part.endsWith('\n')) this.#line(part.slice(0, -1));
      else if (part.endsWith('\r')) this.#progress(part.slice(0, -1));
      else this.#rest = part.slice(-LINE_MAX);
    }
  }

  end(): void {
    if (this.#rest) this.#line(this.#rest);
    this.#rest = '';
  }

  #line(raw: string): void {
    const line = raw.trimEnd().slice(0, LINE_MAX);
    if (!line) return;
    this.tail.push(line);
    if (this.tail.length > TAIL_LINES) this.tail.shift();
    this.log(line);
  }

  #progress(line: string): void {
    const now = Date.now();
    if (!line || now - this.#lastProgress < PROGRESS_EVERY_MS) return;
    this.#lastProgress = now;
    this.log(line.trimEnd().slice(0, LINE_MAX));
  }
}
