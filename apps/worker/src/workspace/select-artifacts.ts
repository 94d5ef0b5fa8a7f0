import picomatch from 'picomatch';
import type { WorkspaceFile } from '../executor/executor.js';

export interface RefusedArtifact {
  path: string;
  /** A sentence for people. */
  reason: string;
}

export interface ArtifactSelection {
  /** Regular files, by path. */
  files: WorkspaceFile[];
  /** Patterns that matched no regular file. */
  unmatched: string[];
  /** What a pattern asked for and the farm does not take: links, devices, names that are no text. */
  refused: RefusedArtifact[];
}

/** Files that one build may bring at most; a pattern like `**` over a dependency folder ends here. */
const MOST_FILES = 100_000;

/**
 * Chooses the artifacts of a build: `globs` as picomatch reads them, relative to the workspace, files whose name
 * begins with a dot included. A pattern that names a directory, or ends in `/`, takes what is below it.
 *
 * A pattern that is absolute or has `..` is refused as a whole; a link is never followed, so what lies behind
 * one is not in `files`.
 */
export async function selectArtifacts(
  files: AsyncIterable<WorkspaceFile>,
  globs: readonly string[],
): Promise<ArtifactSelection> {
  const selection: ArtifactSelection = { files: [], unmatched: [], refused: [] };
  const patterns = globs.flatMap((glob) => {
    const problem = outside(glob);
    if (problem) selection.refused.push({ path: glob, reason: problem });
    return problem ? [] : [{ glob, matches: matcher(glob), hits: 0 }];
  });
  for await (const file of files) {
    const hit = patterns.filter((pattern) => pattern.matches(file.path));
    if (hit.length === 0 || file.type === 'directory') continue;
    const problem = file.type === 'file' ? unfit(file.path) : NO_FILE[file.type];
    if (problem) {
      selection.refused.push({ path: file.path, reason: problem });
      continue;
    }
    for (const pattern of hit) pattern.hits++;
    selection.files.push(file);
    if (selection.files.length > MOST_FILES) {
      selection.refused.push({
        path: file.path,
        reason: `the patterns match more than ${MOST_FILES} files; name fewer, or pack them into one`,
      });
      break;
    }
  }
  selection.files.sort((a, b) => (a.path < b.path ? -1 : 1));
  selection.unmatched = patterns.filter(({ hits }) => hits === 0).map(({ glob }) => glob);
  return selection;
}

const NO_FILE = {
  link: 'is a symbolic link, which is not followed; name the file itself',
  other: 'is no regular file',
};

function outside(glob: string): string | undefined {
  if (glob.startsWith('/')) return 'the pattern is absolute; patterns start in the workspace';
  if (glob.split('/').includes('..')) return 'the pattern leaves the workspace by ..';
  return undefined;
}

/** Names that the master and the people who download could not live with. */
function unfit(path: string): string | undefined {
  if (path.includes('\\')) return 'has a backslash in its name';
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'has a control character in its name';
  return undefined;
}

function matcher(glob: string): (path: string) => boolean {
  const clean = glob.replace(/^(?:\.\/)+/, '').replace(/\/+$/, '');
  // Names may hold newlines; the flag lets `**` see them, so that they are refused and not passed over.
  const options = { dot: true, nonegate: true, flags: 's' };
  const self = picomatch(clean, options);
  const below = picomatch(`${clean}/**`, options);
  return (path) => self(path) || below(path);
}
