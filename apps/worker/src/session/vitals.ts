import { cutText, storableText } from '@impgem/kit';
import { LOW_DISK_CHARS, type Heartbeat } from '@impgem/protocol';

/** What a heartbeat says besides the number of builds. */
export type Vitals = Omit<Heartbeat, 'type' | 'running'>;

/** As the wire takes it: paths may be long, and file systems count what no number holds. */
export function sendable({ lowDisk, ...counts }: Vitals): Vitals {
  for (const [name, count] of Object.entries(counts))
    if (count !== undefined)
      Object.assign(counts, { [name]: Math.min(Math.max(0, count), Number.MAX_SAFE_INTEGER) });
  const text = lowDisk && cutText(storableText(lowDisk), LOW_DISK_CHARS);
  return { ...counts, ...(text ? { lowDisk: text } : {}) };
}
