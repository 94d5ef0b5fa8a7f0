/** What a parsed JSON value may be at most. */
export interface JsonBounds {
  /** Objects and arrays within each other. */
  depth: number;
  /** Members of objects and items of arrays, all together. */
  values: number;
}

/**
 * What of the bounds a parsed JSON value breaks, or undefined. Ask before anything that recurses over the value or
 * does more than a little for each of its keys: a text of brackets ends the stack, one of keys takes minutes.
 * It does not recurse itself, and stops where a bound is hit.
 */
export function jsonExcess(value: unknown, { depth, values }: JsonBounds): string | undefined {
  let level: unknown[] = [value];
  let count = 0;
  for (let deep = 0; level.length > 0; deep++) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item !== 'object' || item === null) continue;
      if (deep >= depth) return `values are nested deeper than ${depth}`;
      const members = Array.isArray(item) ? item : Object.values(item);
      count += members.length;
      if (count > values) return `there are more than ${values} values`;
      for (const member of members) next.push(member);
    }
    level = next;
  }
  return undefined;
}
