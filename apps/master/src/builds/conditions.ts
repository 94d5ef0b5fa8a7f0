import { FarmError, quoted } from '@impgem/kit';

/** The WHERE of a list: conditions with their values, as `$1`, `$2`, …. */
export class Conditions {
  readonly params: unknown[] = [];
  readonly #conditions: string[] = [];

  /** `sql` has `?` where the value goes; without a value nothing is added. */
  add(sql: string, value: unknown): this {
    if (value === undefined) return this;
    this.#conditions.push(sql.replace('?', this.param(value)));
    return this;
  }

  param(value: unknown): string {
    this.params.push(value);
    return `$${this.params.length}`;
  }

  get where(): string {
    return this.#conditions.length > 0 ? `WHERE ${this.#conditions.join(' AND ')}` : '';
  }
}

/** Numbers of builds and positions of builders are of 32 bits: no more than these digits fit surely. */
const DIGITS = { id: /^\d{1,15}$/, number: /^\d{1,9}$/ };

/** The id, or the smaller number, that `next` of a page is. Throws `invalid-request`. */
export function cursor(
  after: string | undefined,
  kind: keyof typeof DIGITS = 'id',
): number | undefined {
  if (after === undefined) return undefined;
  if (!DIGITS[kind].test(after))
    throw new FarmError('invalid-request', '`after` is what `next` of the page before says', {
      problems: [{ path: 'after', message: 'it is no cursor of this list' }],
    });
  return Number(after);
}

/** An id or number in an address. Throws `not-found` for what cannot be one. */
export function idOf(text: string, what: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new FarmError('not-found', `there is no ${what} ${quoted(text, 50)}`);
  return Number(text);
}
