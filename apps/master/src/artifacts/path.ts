/** Bytes of UTF-8. */
const MAX_PATH = 1024;

/**
 * What is wrong with the path of an artifact, or undefined. Such a path is relative, has `/` between its parts, and
 * names the same file below any folder: nothing in it climbs, and nothing in it is special on another system.
 */
export function artifactPathProblem(path: string): string | undefined {
  if (path === '') return 'the path is empty';
  if (Buffer.byteLength(path) > MAX_PATH) return `the path is longer than ${MAX_PATH} bytes`;
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'the path has control characters in it';
  if (path.includes('\\')) return 'the path has a backslash in it';
  if (path.startsWith('/')) return 'the path is absolute';
  // Half of a pair cannot be stored as UTF-8.
  if (/\p{Surrogate}/u.test(path)) return 'the path is not well-formed text';
  for (const part of path.split('/')) {
    if (part === '') return 'the path has an empty part';
    if (part === '.' || part === '..') return `the path has ${part} as a part`;
  }
  return undefined;
}

/** The same for two paths that one file system may take for one: without regard to case and composition. */
export function foldedPath(path: string): string {
  return path.normalize('NFC').toLowerCase().normalize('NFC');
}
