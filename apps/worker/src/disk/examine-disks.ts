import { findings, type Finding } from '@impgem/kit';
import { dirname } from 'node:path';
import { free } from './disk.js';
import { lowness, type Free, type Watermark } from './lowness.js';

/** What a worker would say of these folders' disks. Folders that are not there yet count as their parents. */
export async function examineDisks(
  folders: readonly string[],
  watermark: Watermark,
): Promise<Finding[]> {
  const { ok, warn, fail } = findings('disk');
  const found: Finding[] = [];
  for (const folder of folders) {
    let place: Free;
    try {
      place = await nearestFree(folder);
    } catch (error) {
      found.push(
        fail(
          `${folder} cannot be looked at: ${(error as Error).message}`,
          'run this as the user that runs the worker, or name another folder in IMPGEM_WORKER_DATA',
        ),
      );
      continue;
    }
    const low = lowness([place], watermark);
    const at = low?.indexOf(': ') ?? -1;
    found.push(
      low === undefined
        ? ok(`${folder} has ${Math.floor(place.bytes / 1024 ** 2)} MiB free`)
        : warn(`${low.slice(0, at)}; a worker takes no work then`, low.slice(at + 2)),
    );
  }
  return found;
}

async function nearestFree(folder: string): Promise<Free> {
  try {
    return { ...(await free(folder)), folder };
  } catch (error) {
    const parent = dirname(folder);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === folder) throw error;
    return { ...(await nearestFree(parent)), folder };
  }
}
