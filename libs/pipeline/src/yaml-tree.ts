import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type ParsedNode } from 'yaml';
import { pathOf, type FileProblem, type Place } from './problem.js';

/** Bounds of a farm file; each one is a problem of its own in the answer, never a crash or a long wait. */
export const FILE_LIMITS = {
  /** Characters. */
  size: 256 * 1024,
  /** Lists and maps inside each other. */
  depth: 16,
  /** Values, each use of an alias counted anew (a "billion laughs" file ends here). */
  nodes: 20_000,
  /** Problems that are listed. */
  problems: 100,
} as const;

/** A YAML file as plain values, that still knows where each of them stood. */
export interface YamlTree {
  value: unknown;
  /** Problems of the YAML itself. When there are any, `value` is not to be used. */
  problems: FileProblem[];
  /**
   * A problem at a place: at its value, at its key, or `within` the value where that text begins. A place that
   * is not in the file is that of its nearest parent.
   */
  problem(place: Place, message: string, where?: 'key' | 'value' | { within: string }): FileProblem;
  /** A scalar as it was written (`1.10`, not 1.1); undefined when there is none at that place. */
  text(place: Place): string | undefined;
}

interface Spot {
  key: number;
  from: number;
  to: number;
  text?: string;
}

/** Object keys that would reach a prototype. */
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

/** Reads YAML 1.2 (core schema); never throws, whatever the text is. */
export function readYaml(source: string): YamlTree {
  const lines = new LineCounter();
  const spots = new Map<string, Spot>();
  const problems: FileProblem[] = [];
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const tree: YamlTree = {
    value: undefined,
    problems,
    problem(place, message, where = 'value') {
      const known = place.map((_, i) => pathOf(place.slice(0, place.length - i)));
      const spot = spots.get(known.find((path) => spots.has(path)) ?? '');
      let offset = where === 'key' ? spot?.key : spot?.from;
      if (typeof where === 'object' && spot) {
        const inside = source.indexOf(where.within, spot.from);
        if (inside >= 0 && inside < spot.to) offset = inside;
      }
      return { path: pathOf(place), message, ...at(offset ?? 0) };
    },
    text: (place) => spots.get(pathOf(place))?.text,
  };
  if (source.length > FILE_LIMITS.size) {
    const size = `${source.length} characters; at most ${FILE_LIMITS.size} are allowed`;
    problems.push({ path: '', message: `the file has ${size}`, line: 1, column: 1 });
    return tree;
  }
  // In a comment, say, where no value is looked at: the text itself is stored, too.
  const unstorable = UNSTORABLE.exec(source);
  if (unstorable) {
    const before = source.slice(0, unstorable.index).split('\n');
    const column = (before.at(-1) ?? '').length + 1;
    problems.push({ path: '', message: UNSTORABLE_TEXT, line: before.length, column });
    return tree;
  }
  try {
    const document = parseDocument(source, {
      lineCounter: lines,
      prettyErrors: false,
      // Its check compares every pair of keys; ours is below.
      uniqueKeys: false,
      resolveKnownTags: false,
      logLevel: 'silent',
    });
    for (const { code, message, pos } of [...document.errors, ...document.warnings])
      problems.push({
        path: '',
        message: code === 'RESOURCE_EXHAUSTION' ? 'lists and maps are nested too deep' : message,
        ...at(pos[0]),
      });
    if (problems.length === 0) tree.value = new Walk(tree, spots).read(document.contents, [], 0);
  } catch (error) {
    // The parser recurses over brackets: text with thousands of them ends the stack.
    const what =
      error instanceof WalkEnd
        ? error.message
        : `it cannot be read as YAML (${error instanceof RangeError ? 'nested too deep' : String(error)})`;
    problems.push({ path: '', message: what, ...at(error instanceof WalkEnd ? error.offset : 0) });
  }
  problems.splice(FILE_LIMITS.problems);
  return tree;
}

/** What an escape can say, and no database stores. */
const UNSTORABLE = /\0|[\uD800-\uDFFF]/u;
const UNSTORABLE_TEXT = 'the text has a NUL or half of a surrogate pair in it';

/** A limit was hit: nothing more is read. */
class WalkEnd extends Error {
  constructor(
    message: string,
    readonly offset: number,
  ) {
    super(message);
  }
}

class Walk {
  #nodes = 0;
  #anchors = new Map<string, ParsedNode>();
  constructor(
    readonly tree: YamlTree,
    readonly spots: Map<string, Spot>,
  ) {}

  read(node: ParsedNode | null, place: Place, key: number): unknown {
    const from = node?.range[0] ?? key;
    if (++this.#nodes > FILE_LIMITS.nodes)
      throw new WalkEnd(`the file has more than ${FILE_LIMITS.nodes} values`, from);
    if (place.length > FILE_LIMITS.depth)
      throw new WalkEnd(`lists and maps are nested deeper than ${FILE_LIMITS.depth}`, from);
    const spot: Spot = { key, from, to: node?.range[1] ?? key };
    this.spots.set(pathOf(place), spot);
    if (!node) return null;
    if (isAlias(node)) {
      // Own table, since `resolve` of the library searches the whole document each time.
      const target = this.#anchors.get(node.source);
      if (target) return this.read(target, place, key);
      this.#say(place, `there is no anchor &${node.source} above`, 'value');
      return null;
    }
    if (node.anchor) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) {
      if (typeof node.value === 'string' && UNSTORABLE.test(node.value))
        this.#say(place, UNSTORABLE_TEXT, 'value');
      if (typeof node.value !== 'string' && node.value !== null) spot.text = node.source;
      return node.value;
    }
    if (isSeq(node))
      return node.items.map((item, i) => this.read(item as ParsedNode, [...place, i], from));
    return isMap(node) ? this.#map(node.items, place) : null;
  }

  #map(
    pairs: readonly { key: ParsedNode | null; value: ParsedNode | null }[],
    place: Place,
  ): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    for (const { key, value } of pairs) {
      const name = isScalar(key) ? (key.source ?? String(key.value)) : undefined;
      const offset = key?.range[0] ?? 0;
      if (name === undefined || FORBIDDEN_KEYS.has(name) || UNSTORABLE.test(name)) {
        this.#at(place, name === undefined ? 'a key is a text' : `${name} is not a key`, offset);
        continue;
      }
      const here = [...place, name];
      if (Object.hasOwn(object, name)) {
        this.#at(
          here,
          `${name} stands here twice; the first is in line ${this.#line(here)}`,
          offset,
        );
        continue;
      }
      object[name] = this.read(value, here, offset);
    }
    return object;
  }

  #line(place: Place): number {
    return this.tree.problem(place, '', 'key').line ?? 0;
  }

  #at(place: Place, message: string, offset: number): void {
    const path = pathOf(place);
    const before = this.spots.get(path);
    this.spots.set(path, { key: offset, from: offset, to: offset });
    this.#say(place, message, 'key');
    if (before) this.spots.set(path, before);
  }

  #say(place: Place, message: string, where: 'key' | 'value'): void {
    this.tree.problems.push(this.tree.problem(place, message, where));
  }
}
