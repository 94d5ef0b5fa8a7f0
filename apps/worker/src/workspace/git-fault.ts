import { FarmError } from '@impgem/kit';
import { GitError } from './git.js';

/**
 * Whose fault it is that git failed. The worker's copies are a cache: what is wrong with them is mended by making them
 * anew, which costs a transfer, so what the other side says, or what the repository itself holds, must not lead to it.
 */
export type Fault =
  /** The worker's copy is damaged, or somebody works in it. */
  | 'local'
  /** The other side, or the way to it. */
  | 'remote'
  /** What the repository holds cannot be checked out anywhere. */
  | 'content'
  /** The machine has no room, memory or right: no copy would be better. */
  | 'machine'
  /** Git's words do not tell. */
  | 'unknown';

const MACHINE =
  /No space left on device|Disk quota exceeded|Read-only file system|Too many open files|annot allocate memory|out of memory/i;

const CONTENT =
  /invalid path|File name too long|fsck error|object .* (?:is malformed|has bad)|pathspec|contains a? ?submodule/i;

/** Before anything is transferred: nothing of ours was in use. */
const NOT_REACHED = [
  /could not read (?:Username|Password)|Authentication failed|terminal prompts disabled|Invalid username or/i,
  /Could not resolve host|not known|name resolution|unable to look up|nodename nor servname/i,
  /Connection (?:refused|timed out)|No route to host|Network is unreachable|Failed to connect|Couldn't connect|unable to connect/i,
  /Permission denied \(|Host key verification|kex_exchange|Could not read from remote repository/i,
  /[Rr]epository (?:'.*' )?not found|does not appear to be a git repository|not exported|requested URL returned error/i,
  /\bSSL|certificate|\bTLS\b|gnutls|server does not support|transport '.*' not allowed/i,
  /not our ref|couldn't find remote ref|no such remote ref|remote error:|on the remote side/i,
];

/** While it is transferred. A damaged copy makes the other side say some of these, too. */
const CUT_OFF =
  /remote end hung up|early EOF|RPC failed|unexpected disconnect|protocol error|bad line length|expected flush|Connection reset|timed out|curl \d+/i;

const DAMAGE = [
  /\.lock'|cannot lock ref|unable to (?:create|read|write|open|append|unlink|find|update)|cannot (?:open|read|update)/i,
  /is empty|loose object|corrupt|bad (?:object|config|signature|index|tree|ref|numeric)|not a git repository|broken/i,
  /missing (?:blob|tree|commit|object|necessary)|packfile|packed-refs|unterminated|unexpected line|necessary objects/i,
  /invalid (?:object|sha1|HEAD|gitfile)|dubious ownership|File exists|ot a directory|s a directory|Permission denied$/im,
  /index file|commit-graph|multi-pack-index|does not point to a valid|inflate|mmap|format version|object format/i,
];

/** From git's words alone, of a command that spoke with the other side. */
export function faultOf({ said, silent }: GitError): Fault {
  if (silent) return 'remote';
  const text = said.join('\n');
  if (MACHINE.test(text)) return 'machine';
  if (NOT_REACHED.some((pattern) => pattern.test(text))) return 'remote';
  if (/fsck error/.test(text)) return 'content';
  if (DAMAGE.some((pattern) => pattern.test(text))) return 'local';
  return CUT_OFF.test(text) ? 'remote' : 'unknown';
}

/** The same of a command that works on the worker's disk only. */
export function localFaultOf({ said, silent }: GitError): Fault {
  const text = said.join('\n');
  if (silent || MACHINE.test(text)) return 'machine';
  return CONTENT.test(text) ? 'content' : 'local';
}

/** Whether the system itself, not git, found the copy to be no folder, or not ours. */
export function isDamage(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return ['EEXIST', 'ENOTDIR', 'EISDIR', 'EACCES', 'EPERM', 'ENOENT', 'ELOOP', 'EIO'].includes(
    code ?? '',
  );
}

/** What ends the step when the worker itself could not do it: another attempt may help, maybe elsewhere. */
export function ofMachine(what: string, error: unknown): FarmError {
  const said = error instanceof GitError ? error.said.join('\n') : '';
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as NodeJS.ErrnoException).code;
  const full = MACHINE.test(said) || ['ENOSPC', 'EDQUOT', 'EROFS', 'EMFILE'].includes(code ?? '');
  const hint = full
    ? "See to the disk of this worker's data folder (IMPGEM_WORKER_DATA)."
    : "See to the folder `mirrors` in this worker's data folder (IMPGEM_WORKER_DATA); all in it may be removed.";
  return new FarmError(
    'worker-error',
    `this worker cannot keep a copy of ${what}: ${message}${said ? `\n${said}` : ''}\n${hint}`,
    {},
    { cause: error },
  );
}
