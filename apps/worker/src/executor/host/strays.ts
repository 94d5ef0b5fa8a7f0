import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';

/** Every process of a step has this variable, unless it took care to lose it. */
export const MARKER = 'IMPGEM_STEP';

/** Looking at every process takes tens of milliseconds on a busy machine; this narrows it. */
export interface Since {
  /** A process that was started before any that is looked for. */
  pid: number;
  /** When that was, in milliseconds as `Date.now` counts. */
  at: number;
}

/** Process ids cannot have come round within this, in milliseconds. */
const NO_WRAP_MS = 10_000;

/**
 * Ends processes whose marker matches: children that left their step's group (`setsid`, daemons). Looks again
 * until none is found, since one may fork while we look. Other users' processes cannot be read and are passed
 * over. Returns how many it ended.
 */
export async function killStrays(
  matches: (marker: string) => boolean,
  since?: Since,
): Promise<number> {
  let ended = 0;
  for (let round = 0; round < 10; round++) {
    const found = await strays(matches, since);
    if (found.length === 0) return ended;
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL');
        ended++;
      } catch {
        // Gone, or not ours.
      }
    }
  }
  return ended;
}

async function strays(matches: (marker: string) => boolean, since?: Since): Promise<number[]> {
  const found: number[] = [];
  for (const pid of recent(since) ?? (await all())) {
    if (pid === process.pid) continue;
    const marker = await markerOf(pid);
    if (marker !== undefined && matches(marker)) found.push(pid);
  }
  return found;
}

async function all(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter((pid) => Number.isInteger(pid));
}

/** The ids given out since, when they are few and certain. */
function recent(since: Since | undefined): number[] | undefined {
  if (!since || Date.now() - since.at > NO_WRAP_MS) return undefined;
  const last = Number(readFileSync('/proc/loadavg', 'utf8').trim().split(' ').at(-1));
  const count = last - since.pid;
  if (!(count >= 0 && count < 100)) return undefined;
  const given = Array.from({ length: count }, (_, index) => since.pid + 1 + index);
  // Most have ended: asking for that costs less than a turn through the thread pool.
  return given.filter((pid) => existsSync(`/proc/${pid}`));
}

async function markerOf(pid: number): Promise<string | undefined> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
    const key = `${MARKER}=`;
    const at = environment.startsWith(key) ? 0 : environment.indexOf(`\0${key}`) + 1;
    if (at === 0 && !environment.startsWith(key)) return undefined;
    return environment.slice(at + key.length).split('\0', 1)[0];
  } catch {
    // Ended meanwhile, or another user's.
    return undefined;
  }
}
