import type { Chance } from './chance.js';

/** Something that will happen, unless it is called off. */
export interface Planned {
  readonly at: number;
  cancelled: boolean;
}

interface Entry extends Planned {
  readonly order: number;
  readonly run: () => void;
}

/** Virtual time in milliseconds, and what will happen when. What is due at the same time happens as it was planned. */
export class World {
  now = 0;
  /** What happened, for people; only kept when asked for. */
  readonly trace: string[] | undefined;
  #order = 0;
  readonly #heap: Entry[] = [];

  constructor(
    readonly chance: Chance,
    traced = false,
  ) {
    this.trace = traced ? [] : undefined;
  }

  /** Thunks, since most runs keep no trace. */
  note(text: () => string): void {
    this.trace?.push(`${(this.now / 1000).toFixed(3).padStart(10)} ${text()}`);
  }

  after(delayMs: number, run: () => void): Planned {
    return this.at(this.now + Math.max(0, delayMs), run);
  }

  /** At a time, to the last bit: what is planned for the same one comes in the order of the calls. */
  at(time: number, run: () => void): Planned {
    const entry: Entry = {
      at: Math.max(this.now, time),
      order: this.#order++,
      run,
      cancelled: false,
    };
    this.#push(entry);
    return entry;
  }

  /** Lets the next thing happen; false when nothing is planned. */
  step(): boolean {
    for (;;) {
      const entry = this.#pop();
      if (!entry) return false;
      if (entry.cancelled) continue;
      this.now = entry.at;
      entry.run();
      return true;
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const above = heap[up] as Entry;
      if (!sooner(entry, above)) break;
      heap[at] = above;
      at = up;
    }
    heap[at] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (!last || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && sooner(heap[down + 1] as Entry, heap[down] as Entry)) down += 1;
      const below = heap[down] as Entry;
      if (!sooner(below, last)) break;
      heap[at] = below;
      at = down;
    }
    heap[at] = last;
    return top;
  }
}

const sooner = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** One life of a program: what it planned dies with it, and waits while it is frozen. */
export class Process {
  alive = true;
  frozenUntil = 0;
  /** Its own clock, which only grows, begins anywhere. */
  readonly #offset: number;
  /** What happens when it thaws. */
  readonly #held: (() => void)[] = [];
  /** Told at its death, e.g. its sockets. */
  readonly #deathbed: (() => void)[] = [];

  constructor(
    readonly world: World,
    readonly name: string,
  ) {
    this.#offset = world.chance.between(0, 1e9);
  }

  get now(): number {
    return this.world.now + this.#offset;
  }

  after(delayMs: number, run: () => void): Planned {
    return this.world.after(delayMs, () => this.when(run));
  }

  /** Every so often while it lives; frozen times are missed. */
  every(ms: number, run: () => void): void {
    this.after(ms, () => {
      run();
      this.every(ms, run);
    });
  }

  /** Now, or when it thaws, in the order of the calls; not after its death. */
  when(run: () => void): void {
    if (!this.alive) return;
    if (this.world.now >= this.frozenUntil && this.#held.length === 0) return run();
    this.#held.push(run);
    if (this.#held.length === 1) this.#thaw();
  }

  #thaw(): void {
    this.world.at(this.frozenUntil, () => {
      if (this.world.now < this.frozenUntil) return this.#thaw();
      for (const run of this.#held.splice(0)) if (this.alive) run();
    });
  }

  freeze(ms: number): void {
    this.frozenUntil = Math.max(this.frozenUntil, this.world.now + ms);
  }

  onDeath(run: () => void): void {
    this.#deathbed.push(run);
  }

  die(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const run of this.#deathbed.splice(0)) run();
  }
}
