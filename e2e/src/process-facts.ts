import { readFileSync, readdirSync } from 'node:fs';

/** Resident memory of a process of this machine, in bytes. Throws when there is no such process. */
export function rssBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kib === undefined) throw new Error(`process ${pid} has no memory`);
  return Number(kib) * 1024;
}

/** How many files, sockets and pipes it has open. Throws when there is no such process. */
export const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
