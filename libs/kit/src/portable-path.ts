/**
 * One rule for the paths of files that travel: what is packed, offered, stored, archived and downloaded. A path that
 * passes is relative, has `/` between its parts, and names one file below any folder, on every system in use.
 */

import { cutBytes, quoted } from './bounded-text.js';

/** Bytes of UTF-8: of a path, and of one part of it, which is what file systems take. */
export const MOST_PATH_BYTES = 1024;
const MOST_PART_BYTES = 255;

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
/** They turn the direction of text round, or are not seen at all: a name looks like another one. */
const INVISIBLE = /[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/;
/** What a file system may leave out of a comparison. */
const IGNORED = /[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;
const DEVICE =
  /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$) *(?:[.:].*)?$/i;
const DRIVE = /^[a-z]:/i;
const NO_TEXT = /\p{Surrogate}|\ufffd/u;
// oxlint-disable-next-line no-control-regex -- ASCII is what it looks for
const ASCII = /^[\u0000-\u007f]*$/;

/** What is wrong with a path, as the rest of a sentence that begins with it, or undefined. */
export function portablePathProblem(path: string): string | undefined {
  if (path === '') return 'the path is empty';
  if (utf8Length(path) > MOST_PATH_BYTES) return `the path is longer than ${MOST_PATH_BYTES} bytes`;
  if (NO_TEXT.test(path)) return 'the path is not well-formed text (UTF-8)';
  if (CONTROL.test(path)) return 'the path has control characters in it';
  if (INVISIBLE.test(path)) return 'the path has characters in it that are not seen';
  if (path.includes('\\')) return 'the path has a backslash in it';
  if (path.startsWith('/')) return 'the path is absolute';
  for (const part of path.split('/')) {
    const problem = partProblem(part);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function partProblem(text: string): string | undefined {
  if (text === '') return 'the path has an empty part';
  const part = text.replace(IGNORED, '');
  if (part === '') return 'the path has a part that is not seen';
  if (part === '.' || part === '..') return `the path has ${part} as a part`;
  if (utf8Length(text) > MOST_PART_BYTES)
    return `the path has a part that is longer than ${MOST_PART_BYTES} bytes`;
  if (/[. ]$/.test(part)) return 'the path has a part that ends in a dot or a blank';
  if (DRIVE.test(part)) return 'the path has a part that names a drive';
  if (DEVICE.test(part)) return 'the path has a part that names a device of Windows';
  return undefined;
}

/** Bytes of UTF-8; half of a pair counts three, as what is written for it. */
export function utf8Length(text: string): number {
  if (ASCII.test(text)) return text.length;
  let bytes = 0;
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
  }
  return bytes;
}

/** The same for two paths that one file system may take for one: without regard to case, composition, and what is not seen. */
export function foldedPath(path: string): string {
  if (ASCII.test(path)) return path.toUpperCase();
  return path.normalize('NFD').replace(IGNORED, '').toLowerCase().toUpperCase().normalize('NFC');
}

/** A path for people, in quotes: cut, and with nothing in it that a terminal obeys or that is not seen. */
export function quotedPath(path: string): string {
  return quoted(path).replace(
    /[\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * A path that was stored before the rule, so that it passes: each character and part that the rule refuses is replaced
 * by `_` or has one beside it. What passes stays as it is. Two paths may come out as one.
 */
export function mendedPath(path: string): string {
  if (portablePathProblem(path) === undefined) return path;
  const parts = path.split(/[/\\]/).flatMap((part) => {
    const plain = [...part]
      .map((char) => (CONTROL.test(char) || NO_TEXT.test(char) ? '_' : char))
      .join('')
      .replace(new RegExp(`${INVISIBLE.source}|${IGNORED.source}`, 'g'), '_')
      .replace(DRIVE, (drive) => `${drive.charAt(0)}_`)
      .replace(/[. ]+$/, (end) => '_'.repeat(end.length));
    const named = DEVICE.test(plain) ? `_${plain}` : plain;
    return named === '' ? [] : [cutTo(named, MOST_PART_BYTES)];
  });
  const mended = parts.join('/') || '_';
  return utf8Length(mended) <= MOST_PATH_BYTES ? mended : cutTo(parts.at(-1) ?? '_', 255);
}

const cutTo = (text: string, bytes: number): string => cutBytes(text, bytes).replace(/[. ]+$/, '_');

/** Folders that the names may have for each file that they may hold. */
const FOLDERS_PER_FILE = 4;

/**
 * Paths that have to lie side by side below one folder of any system: no two that it may take for one, and none that
 * is a file here and a folder there. Each has a number, which may claim its path again.
 */
export class PathNames {
  readonly #files = new Map<string, number>();
  /** How many of the files lie below each. */
  readonly #folders = new Map<string, number>();

  constructor(private readonly most: number) {}

  get size(): number {
    return this.#files.size;
  }

  /** Whether it, or one that some system takes for it, is taken. */
  has(path: string): boolean {
    return this.#files.has(foldedPath(path));
  }

  /** What is wrong, as `portablePathProblem` tells it; else the path is taken. */
  claim(path: string, number: number): string | undefined {
    const folded = foldedPath(path);
    const taken = this.#files.get(folded);
    if (taken === number) return undefined;
    if (taken !== undefined || this.#folders.has(folded))
      return 'another one has that path, or one that differs only in case or composition';
    if (this.#files.size >= this.most) return `there are ${this.most} already`;
    const above = foldersOf(folded);
    if (above.some((folder) => this.#files.has(folder)))
      return 'another one has the path of a folder of it';
    const fresh = above.filter((folder) => !this.#folders.has(folder)).length;
    if (this.#folders.size + fresh > FOLDERS_PER_FILE * this.most)
      return `they lie in more than ${FOLDERS_PER_FILE * this.most} folders`;
    for (const folder of above) this.#folders.set(folder, (this.#folders.get(folder) ?? 0) + 1);
    this.#files.set(folded, number);
    return undefined;
  }

  free(path: string): void {
    const folded = foldedPath(path);
    if (!this.#files.delete(folded)) return;
    for (const folder of foldersOf(folded)) {
      const left = (this.#folders.get(folder) ?? 0) - 1;
      if (left > 0) this.#folders.set(folder, left);
      else this.#folders.delete(folder);
    }
  }
}

function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1))
    folders.push(path.slice(0, end));
  return folders;
}
