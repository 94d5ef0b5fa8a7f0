/**
 * Globs as picomatch reads them (dots included, no extended ones, no leading `!`), matched in time that grows with the
 * length of the path and of the glob alone: both are chosen by others, and the expressions that picomatch makes of
 * them take for ever on the wrong names. A glob becomes a graph of states, and a path is walked through all of its
 * states at once.
 *
 * `*`, `?` and `[…]` stay within a part of the path, `**` does not. `[abc]` matches its own text too, and parentheses
 * are text unless they hold a `|`.
 */

/** Anything but `/`. */
const ONE = 'one';
/** Anything. */
const ANY = 'any';
type Test = typeof ONE | typeof ANY | number | ((char: number) => boolean);

/** What a piece of a glob matches; `many` of it, any number of times. */
type Piece =
  { kind: 'test'; test: Test } | { kind: 'many'; test: Test } | { kind: 'choice'; of: Piece[][] };

const SLASH = 0x2f;

export class Glob {
  /** The one path that it names, if it is no pattern. */
  readonly literal: string | undefined;
  readonly #states: State[] = [];
  readonly #begin: number;
  /** For each state the last round that it was added in. */
  readonly #added: Float64Array;
  #round = 0;
  /** For each state what it leads to without a character; made when it is asked for. */
  readonly #reached: (Reached | undefined)[] = [];

  /** Relative to the workspace; what is named by a folder is all that lies below. */
  constructor(glob: string) {
    const pieces = new Parser(glob.replace(/^(?:\.\/)+/, '').replace(/\/+$/, '')).whole();
    const plain = pieces.map((piece) =>
      piece.kind === 'test' && typeof piece.test === 'number' ? piece.test : -1,
    );
    if (!plain.includes(-1)) this.literal = String.fromCodePoint(...plain);
    this.#begin = this.#build(pieces, this.#state({ to: END }));
    this.#added = new Float64Array(this.#states.length);
  }

  /** Whether it names the path, or a folder above it. */
  matches(path: string): boolean {
    return this.#walk(path) === 'matched';
  }

  /** Whether it may name something below a folder. */
  reaches(folder: string): boolean {
    return this.#walk(`${folder}/`) !== 'no';
  }

  /** `open`: not yet, but a longer path may. */
  #walk(path: string): 'matched' | 'open' | 'no' {
    let now: number[] = [];
    let then: number[] = [];
    this.#round += 1;
    let matched = this.#add(this.#begin, now);
    for (let at = 0; at < path.length;) {
      const char = path.codePointAt(at) ?? 0;
      at += char > 0xffff ? 2 : 1;
      if (matched && char === SLASH) return 'matched';
      this.#round += 1;
      matched = false;
      for (const one of now) {
        const { test, to } = this.#states[one] as State;
        if (test !== undefined && passes(test, char) && this.#add(to, then)) matched = true;
      }
      if (then.length === 0 && !matched) return 'no';
      [now, then] = [then, now];
      then.length = 0;
    }
    return matched ? 'matched' : 'open';
  }

  /** Adds what a state leads to without a character; whether the end is one of them. */
  #add(first: number, to: number[]): boolean {
    const { tests, matched } = (this.#reached[first] ??= this.#from(first));
    for (const at of tests) {
      if (this.#added[at] === this.#round) continue;
      this.#added[at] = this.#round;
      to.push(at);
    }
    return matched;
  }

  #from(first: number): Reached {
    const reached: Reached = { tests: [], matched: false };
    const seen = new Set<number>();
    const waiting = [first];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (seen.has(at)) continue;
      seen.add(at);
      const { test, to, or = [] } = this.#states[at] as State;
      if (test !== undefined) reached.tests.push(at);
      else if (to === END) reached.matched = true;
      else waiting.push(to);
      waiting.push(...or);
    }
    return reached;
  }

  #state(state: State): number {
    return this.#states.push(state) - 1;
  }

  /** Puts the pieces before a state; where they begin. */
  #build(pieces: readonly Piece[], next: number): number {
    return pieces.reduceRight((to, piece) => {
      switch (piece.kind) {
        case 'test':
          return this.#state({ test: piece.test, to });
        case 'many': {
          const loop = this.#state({ test: piece.test, to: 0, or: [to] });
          (this.#states[loop] as State).to = loop;
          return loop;
        }
        case 'choice': {
          const [first = to, ...or] = piece.of.map((inside) => this.#build(inside, to));
          return this.#state({ to: first, or });
        }
      }
    }, next);
  }
}

const END = -1;

interface Reached {
  tests: number[];
  /** The end is reached. */
  matched: boolean;
}

/** With a test: `to` behind a character that passes. Without one: `to`, at once. `or`: these too, at once. */
interface State {
  test?: Test;
  to: number;
  or?: number[];
}

function passes(test: Test, char: number): boolean {
  if (typeof test === 'number') return test === char;
  if (typeof test === 'function') return test(char);
  return test === ANY || char !== SLASH;
}

class Parser {
  #at = 0;
  /** Where each group begins and ends; what opens and is no group is text. */
  readonly #groups: Map<number, number>;

  constructor(private readonly glob: string) {
    this.#groups = groupsOf(glob);
  }

  whole(): Piece[] {
    return this.#sequence('');
  }

  /** Up to one of these characters, or the end. */
  #sequence(ends: string): Piece[] {
    const pieces: Piece[] = [];
    while (this.#at < this.glob.length && !ends.includes(this.#next())) pieces.push(...this.#one());
    return pieces;
  }

  #next(): string {
    return String.fromCodePoint(this.glob.codePointAt(this.#at) ?? 0);
  }

  #one(): Piece[] {
    const char = this.#next();
    if (char === '*') return this.#stars();
    const rest = this.glob.slice(this.#at);
    if (/^\/\*\*(?:\/\*\*)*$/.test(rest) && this.glob.charAt(this.#at - 1) !== '*') {
      // `a/**` names `a` too; `*/**` does not name what lies beside the folders.
      this.#at = this.glob.length;
      return [choice([], [exactly('/'), { kind: 'many', test: ANY }])];
    }
    const group = char === '[' ? this.#class() : this.#group(char);
    if (group) return [group];
    if (char === '\\' && this.#at + 1 < this.glob.length) this.#at += 1;
    const text = this.#next();
    this.#at += text.length;
    return [char === '?' ? { kind: 'test', test: ONE } : exactly(text)];
  }

  #stars(): Piece[] {
    const starts = this.#at === 0 || '/{,(|'.includes(this.glob.charAt(this.#at - 1));
    const [stars = ''] = /^\*+/.exec(this.glob.slice(this.#at)) ?? [];
    this.#at += stars.length;
    if (stars.length === 1 || !starts) return [{ kind: 'many', test: ONE }];
    if (this.#next() !== '/') return [{ kind: 'many', test: ANY }];
    this.#at += 1;
    return [choice([], [{ kind: 'many', test: ANY }, exactly('/')])];
  }

  /** `{a,b}`, `{a..c}` or `(a|b)`; undefined, and nothing read, when it is text. */
  #group(opening: string): Piece | undefined {
    const end = this.#groups.get(this.#at);
    if (end === undefined) return undefined;
    const range = /^\{(.)\.\.(.)\}/u.exec(this.glob.slice(this.#at));
    if (range) {
      this.#at += range[0].length;
      return { kind: 'test', test: within(range[1] ?? '', range[2] ?? '') };
    }
    const ends = opening === '{' ? ',}' : '|)';
    const of: Piece[][] = [];
    while (this.#at < end) {
      this.#at += 1;
      of.push(this.#sequence(ends));
    }
    this.#at += 1;
    return choice(...of);
  }

  #class(): Piece | undefined {
    const found = CLASS.exec(this.glob.slice(this.#at));
    const [all = '', not = '', inside = ''] = found ?? [];
    if (!found || inside === '') return undefined;
    this.#at += all.length;
    const tests: ((char: number) => boolean)[] = [];
    const items = inside.matchAll(/(\\.|[^\\])(?:-(\\.|[^\\]))?/gsu);
    for (const [, from = '', to = from] of items) tests.push(within(plain(from), plain(to)));
    const some = (char: number): boolean => tests.some((test) => test(char));
    const test: Piece = {
      kind: 'test',
      test: not === '' ? some : (char) => char !== SLASH && !some(char),
    };
    // A file may have such a name: `[id].js`.
    if (/[-*+?.^${}(|)[\]\\]/.test(not.replace('!', '') + inside)) return test;
    return choice([test], [...all].map(exactly));
  }
}

const CLASS = /^\[([!^]?)(\]?(?:\\.|[^\]\\])*)\]/su;
/** Groups within each other, at most; deeper ones are text. */
const MOST_DEPTH = 50;

/** Found before anything is read, so that what is left open costs no second look. */
function groupsOf(glob: string): Map<number, number> {
  const groups = new Map<number, number>();
  const open: { at: number; closing: string; between: string; isGroup: boolean }[] = [];
  for (let at = 0; at < glob.length; at++) {
    const char = glob.charAt(at);
    if (char === '\\') at += 1;
    else if (char === '[') at += (CLASS.exec(glob.slice(at))?.[0].length ?? 1) - 1;
    else if (char === '{') {
      const isGroup = /^\{.\.\..\}/u.test(glob.slice(at, at + 8));
      open.push({ at, closing: '}', between: ',', isGroup });
    } else if (char === '(') open.push({ at, closing: ')', between: '|', isGroup: false });
    else {
      const divided = open.findLast(({ between }) => between === char);
      if (divided) divided.isGroup = true;
      const closed = open.findLastIndex(({ closing }) => closing === char);
      if (closed < 0) continue;
      const group = open[closed];
      open.length = closed;
      if (group?.isGroup && closed < MOST_DEPTH) groups.set(group.at, at);
    }
  }
  return groups;
}

const exactly = (text: string): Piece => ({ kind: 'test', test: text.codePointAt(0) ?? 0 });
const choice = (...of: Piece[][]): Piece => ({ kind: 'choice', of });
const plain = (item: string): string => (item.length > 1 ? item.replace(/^\\/, '') : item);

function within(from: string, to: string): (char: number) => boolean {
  const [least, most] = [from, to].map((text) => text.codePointAt(0) ?? 0).sort((a, b) => a - b);
  return (char) => char >= (least ?? 0) && char <= (most ?? 0);
}
