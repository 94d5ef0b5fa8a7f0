/** Keys that are counted at once; beyond that the oldest are forgotten. */
const MOST_KEYS = 10_000;
const WINDOW_MS = 60_000;

/** Counts by key within a minute from the first one on; in memory, each master for itself. */
export class WindowCounter {
  readonly #counts = new Map<string, { count: number; until: number }>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Counts one more, and returns how many that makes. */
  add(key: string): number {
    const known = this.#current(key);
    if (known) return (known.count += 1);
    const [oldest] = this.#counts.keys();
    if (this.#counts.size >= MOST_KEYS && oldest !== undefined) this.#counts.delete(oldest);
    this.#counts.delete(key);
    this.#counts.set(key, { count: 1, until: this.now() + WINDOW_MS });
    return 1;
  }

  /** Takes one back. */
  remove(key: string): void {
    const known = this.#current(key);
    if (known) known.count -= 1;
  }

  /** Seconds until the key counts from nothing again, at least one. */
  secondsLeft(key: string): number {
    const left = (this.#current(key)?.until ?? 0) - this.now();
    return Math.max(1, Math.ceil(left / 1000));
  }

  #current(key: string) {
    const known = this.#counts.get(key);
    return known && known.until > this.now() ? known : undefined;
  }
}
