/** Processes by their number: who lives, who is a Postgres of ours, who still works in a folder. */
import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { FarmError } from '@impgem/kit';

/** How long the children of a dead Postgres may take to go. */
export const ORPHANS_MS = 15_000;
const POLL_MS = 100;

/** Never throws. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone already.
  }
}

/** Whether the number is taken, be it by a zombie. */
export function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A zombie, which stays where nobody reaps, is not alive. */
export function alive(pid: number): boolean {
  if (!hasProcess(pid)) return false;
  if (process.platform !== 'linux') return true;
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** Waits until no process works in the data folder, as all of Postgres' do. */
export async function childrenGone(data: string): Promise<void> {
  if (process.platform !== 'linux') return;
  const deadline = Date.now() + ORPHANS_MS;
  const worksThere = async (entry: string) =>
    /^\d+$/.test(entry) && (await readlink(`/proc/${entry}/cwd`).catch(() => '')) === data;
  for (;;) {
    const found = await Promise.all((await readdir('/proc')).map(worksThere));
    if (!found.includes(true)) return;
    if (Date.now() > deadline)
      throw new FarmError('postgres-failed', `processes of a crashed PostgreSQL still use ${data}`);
    await sleep(POLL_MS);
  }
}

/** Whether the process is a postmaster on this data folder. */
export async function isPostgres(pid: number, data: string): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  const words = (await readOr(`/proc/${pid}/cmdline`, '')).split('\0');
  return words.some((word) => word.endsWith('postgres')) && words.includes(data);
}

/** The file's text, or the other when it (or the process it tells of) is not there. */
export async function readOr(file: string, otherwise: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return otherwise;
    throw error;
  });
}
