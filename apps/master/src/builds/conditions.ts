import { FarmError } from '@impgem/kit';

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

/** The number that `next` of a page is. Throws `invalid-request`. */
export function cursor(after: string | undefined): number | undefined {
  if (after === undefined) return undefined;
  if (!/^\d{1,15}$/.test(after))
    throw new FarmError('invalid-request', '`after` is what `next` of the page before says', {
      problems: [{ path: 'after', message: 'it is no cursor of this list' }],
    });
  return Number(after);
}

/** An id or number in an address. Throws `not-found` for what cannot be one. */
export function idOf(text: string, what: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new FarmError('not-found', `there is no ${what} ${JSON.stringify(text.slice(0, 50))}`);
  return Number(text);
}
