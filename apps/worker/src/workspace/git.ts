import { FarmError } from '@impgem/kit';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { GitTalk } from './git-talk.js';

export interface GitRun {
  /**
   * The repository to work with. Git looks for none by itself: one that is damaged would send it to the folders
   * above, where somebody else's repository may lie.
   */
  gitDir?: string;
  /** Where its files are, if it has any. */
  workTree?: string;
  /** Transports that git may use for this command, e.g. `['https', 'ssh']`. */
  protocols: readonly string[];
  /** Takes what git tells (its stderr), a line at a time, progress thinned out. */
  log: (line: string) => void;
  signal: AbortSignal;
  /** The command is ended when it has been silent for so long, in milliseconds. */
  quietMs: number;
  /** Descriptor of a lock that stays held as long as git, or a child of it, runs. */
  lock?: number | undefined;
}

/** Git ended with an error; `said` holds what it told of it. */
export class GitError extends Error {
  override name = 'GitError';
  constructor(
    message: string,
    readonly command: string,
    readonly said: readonly string[],
    /** It was ended because it told nothing. */
    readonly silent = false,
  ) {
    super(message);
  }
}

const STDOUT_MAX = 1024 * 1024;
/** What git has to remove its locks after TERM, in milliseconds. */
const GRACE_MS = 5000;

/**
 * Old histories have these, and nothing comes of them: odd dates, names and time zones in commits, modes with a
 * zero before them, a NUL in a message. Whatever git could be led astray by stays an error: names such as `.git`
 * and `..`, sub-module addresses that are options, trees in disorder.
 */
const HARMLESS = [
  'badDate',
  'badDateOverflow',
  'badEmail',
  'badName',
  'badTimezone',
  'missingEmail',
  'missingNameBeforeEmail',
  'missingSpaceBeforeDate',
  'missingSpaceBeforeEmail',
  'missingTaggerEntry',
  'badTagName',
  'multipleAuthors',
  'nulInCommit',
  'zeroPaddedDate',
  'zeroPaddedFilemode',
];

/**
 * No command of a repository or of the machine's own git config runs here: hooks, filters (none is configured
 * once system and global config are out), fsmonitor, credential helpers, pagers. Keys of ssh and `~/.netrc` do
 * work, since ssh and curl find them by HOME. What comes over the network is checked before it is kept.
 */
const SAFE = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.untrackedCache=false',
  'core.protectHFS=true',
  'core.protectNTFS=true',
  'credential.helper=',
  'protocol.ext.allow=never',
  'submodule.recurse=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'advice.detachedHead=false',
  'safe.directory=*',
  'transfer.fsckObjects=true',
  'fetch.fsckObjects=true',
  ...HARMLESS.map((problem) => `fetch.fsck.${problem}=ignore`),
].flatMap((setting) => ['-c', setting]);

function environment({ protocols, gitDir, workTree }: GitRun): NodeJS.ProcessEnv {
  const { PATH, HOME, SSH_AUTH_SOCK, HTTPS_PROXY, https_proxy, NO_PROXY, no_proxy } = inherited();
  return {
    ...defined({ PATH, HOME, SSH_AUTH_SOCK, HTTPS_PROXY, https_proxy, NO_PROXY, no_proxy }),
    ...defined({ GIT_DIR: gitDir, GIT_WORK_TREE: workTree }),
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
      // Git asks for the folder it is in, which need not be there any more, nor be ours.
      cwd: '/',
      env: environment(run),
      stdio: ['ignore', 'pipe', 'pipe', ...(run.lock === undefined ? [] : [run.lock])],
      // Its own group, so that ssh and the remote helpers end with it.
      detached: true,
    });
    const { stdout, stderr } = child;
    if (!stdout || !stderr) throw new Error('git has no output');
    const talk = new GitTalk(run.log);
    let out = '';
    let quiet = false;
    const end = ender(child);
    const silence = setTimeout(() => {
      quiet = true;
      end.now();
    }, run.quietMs);
    run.signal.addEventListener('abort', end.now, { once: true });
    stdout.setEncoding('utf8').on('data', (text: string) => {
      silence.refresh();
      if (out.length < STDOUT_MAX) out += text;
    });
    stderr.setEncoding('utf8').on('data', (text: string) => {
      silence.refresh();
      talk.take(text);
    });
    const finish = (settle: () => void): void => {
      clearTimeout(silence);
      end.over();
      run.signal.removeEventListener('abort', end.now);
      talk.end();
      settle();
    };
    child.on('error', (cause) => finish(() => reject(cannotRun(cause))));
    child.on('close', (code, signal) =>
      finish(() => {
        const name = args[0] ?? '';
        if (code === 0) resolve(out);
        else if (run.signal.aborted)
          reject(new FarmError('cancelled', 'cancelled during checkout'));
        else if (quiet) {
          const seconds = Math.round(run.quietMs / 1000);
          reject(new GitError(`git ${name} was silent for ${seconds} s`, name, talk.said, true));
        } else reject(new GitError(`git ${name} ended with ${signal ?? code}`, name, talk.said));
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

/** Ends a command and its children: TERM first, upon which git removes its locks, KILL if that does not do. */
function ender(child: ChildProcess): { now: () => void; over: () => void } {
  let kill: NodeJS.Timeout | undefined;
  return {
    now: () => {
      signalGroup(child, 'SIGTERM');
      kill ??= setTimeout(() => signalGroup(child, 'SIGKILL'), GRACE_MS);
    },
    over: () => clearTimeout(kill),
  };
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone already.
  }
}
