import { PathNames, portablePathProblem, quotedPath, slices, sortedInSlices } from '@impgem/kit';
import { setImmediate } from 'node:timers/promises';
import type { WorkspaceFile } from '../executor/executor.js';
import { Glob } from './glob.js';

export interface RefusedArtifact {
  path: string;
  /** The rest of a sentence that begins with the path. */
  reason: string;
}

export interface ArtifactSelection {
  /** Regular files, by path. */
  files: WorkspaceFile[];
  /** Those of them that the patterns name by their whole path. */
  literal: ReadonlySet<string>;
  /** Patterns of whose files none is taken. */
  unmatched: string[];
  /** What a pattern names by its whole path and the farm does not take: links, devices, names that others could not use. */
  refused: RefusedArtifact[];
  /** The same of what a wildcard met. */
  leftOut: LeftOut;
}

/** Things to tell of, of which there may be any number: the first few are named, all are counted. */
export class LeftOut {
  count = 0;
  readonly #first: string[] = [];

  /** Names that are kept, at most. */
  static readonly NAMED = 10;

  add(path: string, reason: string): void {
    this.count += 1;
    if (this.#first.length < LeftOut.NAMED) this.#first.push(`${quotedPath(path)}: ${reason}`);
  }

  /** Lines for the log; empty when there is nothing to tell. */
  lines(): string[] {
    if (this.count === 0) return [];
    const more = this.count - this.#first.length;
    const head = `left out ${this.count} of what the patterns meet, since no artifact can be made of it:`;
    const end = more > 0 ? [`  and ${more} more`] : [];
    return [head, ...this.#first.map((line) => `  ${line}`), ...end];
  }
}

/** Files that one build may bring at most: their numbers have 16 bits. */
export const MOST_FILES = 65_536;

interface Pattern {
  glob: string;
  compiled: Glob;
  /** Files that are taken for it. */
  taken: number;
}

interface Candidate {
  file: WorkspaceFile;
  patterns: Pattern[];
  literal: boolean;
}

/**
 * Chooses the artifacts of a build: `globs` as `Glob` reads them, relative to the workspace. A pattern that names a
 * directory, or ends in `/`, takes what is below it. A pattern that is absolute or has `..` is refused as a whole; a
 * link is never followed, so what lies behind one is not in `files`.
 *
 * Of files whose paths some system takes for one, that which is named by its whole path is taken, else the first.
 * Whatever the names and their number, timers and sockets get their turn. Rejects with the signal's reason.
 */
export async function selectArtifacts(
  files: AsyncIterable<WorkspaceFile>,
  globs: readonly string[],
  signal?: AbortSignal,
): Promise<ArtifactSelection> {
  const turn = async (): Promise<void> => {
    await setImmediate();
    signal?.throwIfAborted();
  };
  const pause = slices(() => performance.now(), turn);
  const refused: RefusedArtifact[] = [];
  const leftOut = new LeftOut();
  const patterns = [...new Set(globs)].flatMap((glob): Pattern[] => {
    const problem = outside(glob);
    if (problem) refused.push({ path: glob, reason: problem });
    return problem ? [] : [{ glob, compiled: new Glob(glob), taken: 0 }];
  });
  const tell = (path: string, reason: string, literal: boolean): void => {
    if (literal) refused.push({ path, reason });
    else leftOut.add(path, reason);
  };
  const found: Candidate[] = [];
  for await (const file of files) {
    const paused = pause();
    if (paused) await paused;
    const candidate = met(file, patterns);
    if (!candidate) continue;
    const problem = problemOf(file);
    if (problem !== undefined) tell(file.path, problem, candidate.literal);
    else if (found.length < MOST_FILES) found.push(candidate);
    else return { ...NONE, refused: [...refused, tooMany()], leftOut };
  }
  const sorted = await sortedInSlices(found, comesFirst, pause);
  const names = new PathNames(MOST_FILES);
  const takes = (one: Candidate, number: number): boolean => {
    const problem = names.claim(one.file.path, number);
    if (problem !== undefined) tell(one.file.path, problem, one.literal);
    return problem === undefined;
  };
  const taken: Candidate[] = [];
  for (const literal of [true, false])
    for (const [number, one] of sorted.entries()) {
      await pause();
      if (one.literal !== literal || !takes(one, number)) continue;
      for (const pattern of one.patterns) pattern.taken += 1;
      taken.push(one);
    }
  const inOrder = await sortedInSlices(taken, comesFirst, pause);
  return {
    files: inOrder.map(({ file }) => file),
    literal: new Set(taken.filter(({ literal }) => literal).map(({ file }) => file.path)),
    unmatched: patterns.filter((pattern) => pattern.taken === 0).map(({ glob }) => glob),
    refused,
    leftOut,
  };
}

const NONE = { files: [], literal: new Set<string>(), unmatched: [] };

const comesFirst = (a: Candidate, b: Candidate): boolean => a.file.path < b.file.path;

const tooMany = (): RefusedArtifact => ({
  path: 'the patterns',
  reason: `match more than ${MOST_FILES} files; name fewer, or pack them into one`,
});

/** What the patterns make of a file, or of a folder that hides what may be one. */
function met(file: WorkspaceFile, patterns: readonly Pattern[]): Candidate | undefined {
  const { path, type, unreadable = false } = file;
  const hidesFiles = type === 'directory' && unreadable;
  if (type === 'directory' && !hidesFiles) return undefined;
  const hit = patterns.filter(
    ({ compiled }) => compiled.matches(path) || (hidesFiles && compiled.reaches(path)),
  );
  if (hit.length === 0) return undefined;
  const literal = hit.some(
    ({ compiled: { literal: named } }) =>
      named === path || (hidesFiles && named?.startsWith(`${path}/`)),
  );
  return { file, patterns: hit, literal };
}

function problemOf({ path, type, unreadable }: WorkspaceFile): string | undefined {
  if (unreadable) return 'the worker may not read it';
  if (type === 'link') return 'is a symbolic link, which is not followed; name the file itself';
  const problem = portablePathProblem(path);
  if (problem !== undefined) return problem;
  return type === 'file' ? undefined : 'is no regular file';
}

function outside(glob: string): string | undefined {
  if (glob.startsWith('/')) return 'the pattern is absolute; patterns start in the workspace';
  if (glob.split('/').includes('..')) return 'the pattern leaves the workspace by ..';
  return undefined;
}
