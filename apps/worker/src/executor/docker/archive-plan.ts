import { slices } from '@impgem/kit';
import { setImmediate } from 'node:timers/promises';
import type { WorkspaceFile } from '../executor.js';

/** What the calls for a file of its own cost, in bytes of archive that could be read meanwhile. */
const CALL_BYTES = 1024 * 1024;
/** Parts of a path that are looked at: a folder that lies deeper is not read whole. */
const MOST_DEPTH = 32;
/** Each file and folder has a header in an archive. */
export const HEADER_BYTES = 512;

export interface ArchivePlan {
  /** Folders that are read whole; the workspace itself is ''. */
  folders: string[];
  /** Files that are read by themselves. */
  single: WorkspaceFile[];
}

/**
 * How to read files with few calls and little that nobody wants: an archive of a folder has all that is below it.
 * `weights` tells how much that is, of every folder of the workspace.
 */
export async function archivePlan(
  files: readonly WorkspaceFile[],
  weights: ReadonlyMap<string, number>,
): Promise<ArchivePlan> {
  const plan: ArchivePlan = { folders: [], single: [] };
  const pause = slices(
    () => performance.now(),
    () => setImmediate(),
  );
  const choose = async (
    folder: string,
    inside: readonly WorkspaceFile[],
    depth: number,
  ): Promise<void> => {
    const cost = inside.reduce((sum, { size }) => sum + size + HEADER_BYTES + CALL_BYTES, 0);
    if ((weights.get(folder) ?? Infinity) <= cost) {
      plan.folders.push(folder);
      return;
    }
    if (depth === MOST_DEPTH) {
      for (const file of inside) plan.single.push(file);
      return;
    }
    const below = new Map<string, WorkspaceFile[]>();
    const skip = folder === '' ? 0 : folder.length + 1;
    for (const file of inside) {
      const paused = pause();
      if (paused) await paused;
      const end = file.path.indexOf('/', skip);
      if (end < 0) plan.single.push(file);
      else {
        const name = file.path.slice(0, end);
        const others = below.get(name);
        if (others) others.push(file);
        else below.set(name, [file]);
      }
    }
    for (const [name, others] of below) await choose(name, others, depth + 1);
  };
  if (files.length > 0) await choose('', files, 0);
  return plan;
}

/** Adds a file or folder to what all folders above it weigh. */
export function weigh(weights: Map<string, number>, { path, size, type }: WorkspaceFile): void {
  const bytes =
    HEADER_BYTES + (type === 'file' ? Math.ceil(size / HEADER_BYTES) * HEADER_BYTES : 0);
  const add = (folder: string): void => {
    weights.set(folder, (weights.get(folder) ?? 0) + bytes);
  };
  add('');
  let end = path.indexOf('/');
  for (let depth = 1; end > 0 && depth < MOST_DEPTH; depth++) {
    add(path.slice(0, end));
    end = path.indexOf('/', end + 1);
  }
}
