import type { WorkspaceFile } from '../executor.js';

/** What the calls for a file of its own cost, in bytes of archive that could be read meanwhile. */
const CALL_BYTES = 1024 * 1024;
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
export function archivePlan(
  files: readonly WorkspaceFile[],
  weights: ReadonlyMap<string, number>,
): ArchivePlan {
  const plan: ArchivePlan = { folders: [], single: [] };
  const choose = (folder: string, inside: readonly WorkspaceFile[]): void => {
    const cost = inside.reduce((sum, { size }) => sum + size + HEADER_BYTES + CALL_BYTES, 0);
    if ((weights.get(folder) ?? Infinity) <= cost) {
      plan.folders.push(folder);
      return;
    }
    const below = new Map<string, WorkspaceFile[]>();
    const skip = folder === '' ? 0 : folder.length + 1;
    for (const file of inside) {
      const end = file.path.indexOf('/', skip);
      if (end < 0) plan.single.push(file);
      else {
        const name = file.path.slice(0, end);
        const others = below.get(name);
        if (others) others.push(file);
        else below.set(name, [file]);
      }
    }
    for (const [name, others] of below) choose(name, others);
  };
  if (files.length > 0) choose('', files);
  return plan;
}

/** Adds a file or folder to what all folders above it weigh. */
export function weigh(weights: Map<string, number>, { path, size, type }: WorkspaceFile): void {
  const bytes =
    HEADER_BYTES + (type === 'file' ? Math.ceil(size / HEADER_BYTES) * HEADER_BYTES : 0);
  for (let end = path.lastIndexOf('/'); ; end = path.lastIndexOf('/', end - 1)) {
    const folder = end < 0 ? '' : path.slice(0, end);
    weights.set(folder, (weights.get(folder) ?? 0) + bytes);
    if (end <= 0) return;
  }
}
