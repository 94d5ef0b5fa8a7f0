/** Something wrong at one place of a farm file or of a request; the same shape as in the REST interface. */
export interface FileProblem {
  /** Where, e.g. `builders.hello.steps[0].run`; empty for the file as a whole. */
  path: string;
  /** What is wrong, and how to mend it. */
  message: string;
  /** 1-based; absent when the problem is not in a file. */
  line?: number;
  column?: number;
}

/** A place in a file: keys and list indexes from the top. */
export type Place = readonly (string | number)[];

/** `['builders', 'a b', 'steps', 0]` as `builders["a b"].steps[0]`. */
export function pathOf(place: Place): string {
  return place
    .map((part, i) => {
      if (typeof part === 'number') return `[${part}]`;
      if (!/^[\w-]+$/.test(part)) return `[${JSON.stringify(part)}]`;
      return i === 0 ? part : `.${part}`;
    })
    .join('');
}
