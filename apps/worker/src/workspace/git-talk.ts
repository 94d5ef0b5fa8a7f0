import { cutCredentials, cutText } from '@impgem/kit';

const PROGRESS_EVERY_MS = 2000;
const LINE_MAX = 500;
/** Lines of a reason: the first ones tell the cause, the last ones what came of it. */
const FIRST = 4;
const LAST = 4;

/** What git tells while nothing is wrong: which refs moved, and how far it is. A refused ref (`!`) is no such line. */
const NOISE = [
  /^ (?:[*+=t-]| ) (?:\[|[0-9a-f]{4,})/,
  /^From /,
  /^(?:remote: ?)?(?:Enumerating|Counting|Compressing|Receiving|Resolving|Updating|Total|Unpacking|Checking|Finding|Fetching)\b/,
  /^POST git-/,
  /^Cloning into /,
  /^(?:remote: )?hint:/,
  /^remote: *$/,
];

/** Splits what git says into lines; those that overwrite each other (`\r`) are let through every 2 s. */
export class GitTalk {
  readonly #first: string[] = [];
  readonly #last: string[] = [];
  #left = 0;
  #rest = '';
  #lastProgress = 0;

  constructor(private readonly log: (line: string) => void) {}

  /** Errors and what belongs to them, at most nine lines, without progress. */
  get said(): string[] {
    const more = this.#left > 0 ? [`(${this.#left} more lines)`] : [];
    return [...this.#first, ...more, ...this.#last];
  }

  take(text: string): void {
    const parts = (this.#rest + text).split(/(?<=[\r\n])/);
    this.#rest = '';
    for (const part of parts) {
      if (part.endsWith('\n')) this.#line(part.slice(0, -1));
      else if (part.endsWith('\r')) this.#progress(part.slice(0, -1));
      // what is cut off here is the end, since a line's beginning says what it is
      else this.#rest = part.length > 2 * LINE_MAX ? cutText(part, 2 * LINE_MAX) : part;
    }
  }

  end(): void {
    if (this.#rest) this.#line(this.#rest);
    this.#rest = '';
  }

  #line(raw: string): void {
    const line = shown(raw);
    if (!line) return;
    this.log(line);
    if (NOISE.some((pattern) => pattern.test(line))) return;
    if (this.#first.at(-1) === line || this.#last.at(-1) === line) return;
    if (this.#first.length < FIRST) {
      this.#first.push(line);
      return;
    }
    this.#last.push(line);
    if (this.#last.length > LAST) {
      this.#last.shift();
      this.#left += 1;
    }
  }

  #progress(raw: string): void {
    const now = Date.now();
    const line = shown(raw);
    if (!line || now - this.#lastProgress < PROGRESS_EVERY_MS) return;
    this.#lastProgress = now;
    this.log(line);
  }
}

/** What a remote sends is shown to people: no control characters, no credentials of an address in it. */
function shown(raw: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const plain = raw.trimEnd().replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
  return cutText(cutCredentials(plain), LINE_MAX);
}
