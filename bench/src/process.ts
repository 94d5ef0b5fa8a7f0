/** What a process of this machine uses, read from /proc. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { rssBytes } from '@impgem/e2e';

/** Of Linux, on every machine that we know. */
const TICKS_PER_SECOND = 100;
const SAMPLE_MS = 50;

export function cpuSeconds(pid: number): number {
  // the name, in brackets, may have blanks in it
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Share of a core, in percent, that the process uses in the time. */
export async function cpuPercent(pid: number, seconds: number): Promise<number> {
  const [before, start] = [cpuSeconds(pid), performance.now()];
  await sleep(seconds * 1000);
  return ((cpuSeconds(pid) - before) / ((performance.now() - start) / 1000)) * 100;
}

/** The most memory that the process is seen with while the work is done. */
export async function peakRss<T>(
  pid: number,
  work: () => Promise<T>,
): Promise<{ value: T; bytes: number }> {
  let bytes = rssBytes(pid);
  const timer = setInterval(() => (bytes = Math.max(bytes, rssBytes(pid))), SAMPLE_MS);
  try {
    const value = await work();
    return { value, bytes: Math.max(bytes, rssBytes(pid)) };
  } finally {
    clearInterval(timer);
  }
}
