import { deferred } from '@impgem/kit';
import { spawn } from 'node:child_process';
import { open, stat, utimes } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

/**
 * Locks of files that processes hold (flock). One goes away with the last process that holds its descriptor, so none
 * is ever left behind; git gets the descriptor too, and so a git that outlived its worker still counts. Node cannot
 * ask for one itself, `flock` of util-linux or busybox does; where there is none, only this process is kept in order.
 */
export interface Lock {
  /** To be handed to children; undefined where there is no `flock`. */
  descriptor: number | undefined;
  release(): Promise<void>;
}

/** What waits for a lock within this process, by path. */
const queues = new Map<string, Promise<unknown>>();

/**
 * Runs `work` while it alone holds the lock of `path`, a file that is made when it is not there. Its modification time says when it
 * was last taken. Rejects with the signal's reason when it is aborted while it waits.
 */
export async function locked<T>(
  path: string,
  signal: AbortSignal,
  work: (lock: Lock) => Promise<T>,
): Promise<T> {
  const before = queues.get(path) ?? Promise.resolve();
  const turn = deferred();
  const last = before.then(() => turn.promise);
  queues.set(path, last);
  try {
    await abortable(before, signal);
    const lock = await take(path, signal);
    try {
      return await work(lock);
    } finally {
      await lock.release();
    }
  } finally {
    turn.resolve();
    if (queues.get(path) === last) queues.delete(path);
  }
}

/** The lock, unless somebody holds it, be it in this process. */
export async function tryLock(path: string): Promise<Lock | undefined> {
  if (queues.has(path)) return undefined;
  const file = await open(path, 'a', 0o600);
  const state = await flock(file.fd, ['-n']).catch(() => 'held' as const);
  if (state !== 'held' && (await isAt(file, path))) return lockOf(file, state === 'taken');
  await file.close();
  return undefined;
}

async function take(path: string, signal: AbortSignal): Promise<Lock> {
  for (;;) {
    const file = await open(path, 'a', 0o600);
    try {
      const state = await flock(file.fd, [], signal);
      // Whoever held it may have removed the file: then another one counts.
      if (await isAt(file, path)) {
        const now = new Date();
        await utimes(path, now, now);
        return lockOf(file, state === 'taken');
      }
      await file.close();
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}

function lockOf(file: FileHandle, taken: boolean): Lock {
  return { descriptor: taken ? file.fd : undefined, release: () => file.close() };
}

async function isAt(file: FileHandle, path: string): Promise<boolean> {
  const [mine, there] = await Promise.all([file.stat(), stat(path).catch(() => undefined)]);
  return there !== undefined && mine.ino === there.ino && mine.dev === there.dev;
}

function flock(
  descriptor: number,
  how: readonly string[],
  signal?: AbortSignal,
): Promise<'taken' | 'held' | 'unknown'> {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const child = spawn('flock', ['-x', ...how, '3'], {
      stdio: ['ignore', 'ignore', 'ignore', descriptor],
    });
    const abort = (): void => void child.kill('SIGKILL');
    signal?.addEventListener('abort', abort, { once: true });
    const done = (settle: () => void): void => {
      signal?.removeEventListener('abort', abort);
      settle();
    };
    child.on('error', () => done(() => resolve('unknown')));
    child.on('exit', (code) =>
      done(() => {
        if (code === 0) resolve('taken');
        else if (signal?.aborted) reject(signal.reason as Error);
        else resolve(how.length > 0 ? 'held' : 'unknown');
      }),
    );
  });
}

async function abortable(before: Promise<unknown>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = deferred<never>();
  aborted.promise.catch(() => {});
  const abort = (): void => aborted.reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await Promise.race([before, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
