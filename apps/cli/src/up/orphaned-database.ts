import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { identify, isRunning, type Identity } from './program-identity.js';

const STOP_MS = 30_000;

/**
 * Stops the embedded database that a killed master has left running, when nobody will start that master again. Answers
 * its process number; undefined when none runs. `data` is the folder of the database's files.
 */
export async function stopOrphanedDatabase(data: string): Promise<number | undefined> {
  const database = databaseOf(data);
  if (!database) return undefined;
  // A fast shutdown; after that an immediate one, which loses nothing that is committed.
  const { pid } = database;
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (isRunning(database)) process.kill(pid, signal);
    for (const until = Date.now() + STOP_MS; Date.now() < until; await sleep(50))
      if (!isRunning(database)) return pid;
  }
  return pid;
}

/** The PostgreSQL whose number the folder keeps, when that process is one, on this very folder. */
function databaseOf(data: string): Identity | undefined {
  try {
    const pid = Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);
    const identity = pid > 1 ? identify(pid) : undefined;
    if (!identity?.exe.endsWith('/postgres')) return undefined;
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words[words.indexOf('-D') + 1] === data ? identity : undefined;
  } catch {
    return undefined;
  }
}
