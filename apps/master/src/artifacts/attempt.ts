/** What a master knows of the artifacts of one attempt. */
import type { Hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { PathNames, slices } from '@impgem/kit';
import type { PackedFile } from '@impgem/protocol';
import type { Database } from '../platform/index.js';
import { refused } from './refusals.js';
import type { Place } from './room.js';

/** A file on its way. What is in `file` up to `offset` is in `hash`. */
export interface Transfer {
  path: string;
  size: number;
  mode: number;
  file: string;
  offset: number;
  hash: Hash;
  /** Of a pack. */
  files?: readonly PackedFile[];
  /** Paths that came to it, and go with it when it is given up. */
  paths: readonly string[];
  place: Place;
  /** Set when all of it is here and as announced: only blob and row are missing. */
  sha256?: string;
}

/** What this master knows of the artifacts of one attempt. */
export interface Attempt {
  /** Of those stored and those on their way. */
  names: PathNames;
  /** Bytes that are stored. */
  stored: number;
  /** It is over; what still comes for it is not taken. */
  over: boolean;
  transfers: Map<number, Transfer>;
}

/** With those of it that are stored. */
export async function loadAttempt(
  db: Database,
  build: number,
  mostArtifacts: number,
): Promise<Attempt> {
  const rows = await db.query<{ path: string; number: number; size: number }>(
    'SELECT path, number, size FROM artifacts WHERE build_id = $1',
    [build],
  );
  const pause = slices(
    () => performance.now(),
    () => setImmediate(),
  );
  const names = new PathNames(mostArtifacts);
  let stored = 0;
  for (const { path, number, size } of rows) {
    const paused = pause();
    if (paused) await paused;
    // Of those that were stored before the rule there may be two.
    names.claim(path, number);
    stored += size;
  }
  return { names, stored, over: false, transfers: new Map() };
}

/** All of them, or none and an error. Answers those that are new. */
export function claimPaths(
  attempt: Attempt,
  files: readonly { path: string; artifact: number }[],
  most: number,
): string[] {
  const claims: string[] = [];
  for (const { path, artifact } of files) {
    const isNew = !attempt.names.has(path);
    const problem = attempt.names.claim(path, artifact);
    if (problem === undefined) {
      if (isNew) claims.push(path);
      continue;
    }
    freePaths(attempt, claims);
    if (isNew && attempt.names.size + claims.length >= most)
      throw refused(
        path,
        `a build has at most ${most} artifacts: pack them into one file`,
        'count',
      );
    throw refused(path, problem, 'path');
  }
  return claims;
}

export function freePaths(attempt: Attempt, paths: readonly string[]): void {
  for (const path of paths) attempt.names.free(path);
}
