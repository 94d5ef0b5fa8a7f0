import { readFileSync } from 'node:fs';
import type { ProcessId } from './launcher-messages.js';

/** When the process was started; undefined when there is none. */
export function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name, which may hold blanks and brackets; the start is the 22nd.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Whether it is that very process; a dead one counts until its parent has seen it. */
export const isThere = ({ pid, start }: ProcessId): boolean => startOf(pid) === start;

/** Signals the process group that it leads; false when it is gone. */
export function signalGroup(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isThere(id)) return false;
  try {
    process.kill(-id.pid, signal);
    return true;
  } catch {
    return false;
  }
}
