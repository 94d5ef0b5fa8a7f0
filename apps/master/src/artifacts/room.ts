/**
 * What artifacts on their way hold of the disk before their bytes are there, and what of the memory. Whoever offers
 * has to find room for all that its own build has offered; of what other builds have offered only as much counts as has
 * come already (or a little), so that an offer of which nothing comes keeps nobody else away. Sums are kept, not made
 * anew: each call costs the same whatever is on its way.
 */

/** Bytes of the disk that an offer holds against other builds before any of it has come. */
const FIRST_BYTES = 1024 * 1024;

/** One artifact on its way. */
export interface Place {
  readonly build: string;
  readonly worker: string;
  /** Bytes of memory that its list has. */
  readonly memory: number;
  /** Bytes that are to come. */
  left: number;
  /** Bytes that it holds against other builds. */
  claim: number;
  /** Milliseconds, of the same clock as `rest`. */
  movedAt: number;
}

export class Room {
  readonly #places = new Set<Place>();
  readonly #ofBuild = new Map<string, { left: number; claim: number; open: number }>();
  readonly #memoryOf = new Map<string, number>();
  #claims = 0;
  #memory = 0;

  get open(): number {
    return this.#places.size;
  }

  get claims(): number {
    return this.#claims;
  }

  get memory(): number {
    return this.#memory;
  }

  openOf(build: string): number {
    return this.#ofBuild.get(build)?.open ?? 0;
  }

  /** Bytes to come of all that a build has offered. */
  leftOf(build: string): number {
    return this.#ofBuild.get(build)?.left ?? 0;
  }

  memoryOf(worker: string): number {
    return this.#memoryOf.get(worker) ?? 0;
  }

  /** Bytes that must be free for a build: all that it has offered, and what the others hold against it. */
  neededBy(build: string): number {
    const { left, claim } = this.#ofBuild.get(build) ?? { left: 0, claim: 0 };
    return left + this.#claims - claim;
  }

  take(
    who: { build: string; worker: string; memory: number },
    size: number,
    offset: number,
    now: number,
  ): Place {
    const place: Place = { ...who, left: 0, claim: 0, movedAt: now };
    this.#places.add(place);
    const build = this.#ofBuild.get(who.build) ?? { left: 0, claim: 0, open: 0 };
    build.open += 1;
    this.#ofBuild.set(who.build, build);
    this.#memory += who.memory;
    this.#memoryOf.set(who.worker, this.memoryOf(who.worker) + who.memory);
    this.#set(place, size - offset, claimOf(size, offset));
    return place;
  }

  /** More of it has come. */
  moved(place: Place, size: number, offset: number, now: number): void {
    if (!this.#places.has(place)) return;
    place.movedAt = now;
    this.#set(place, size - offset, claimOf(size, offset));
  }

  free(place: Place): void {
    if (!this.#places.delete(place)) return;
    this.#set(place, 0, 0);
    const build = this.#ofBuild.get(place.build);
    if (build && --build.open === 0) this.#ofBuild.delete(place.build);
    this.#memory -= place.memory;
    const memory = this.memoryOf(place.worker) - place.memory;
    if (memory > 0) this.#memoryOf.set(place.worker, memory);
    else this.#memoryOf.delete(place.worker);
  }

  /** What has not moved since `before` holds nothing any more, until more of it comes. Answers how many there are. */
  rest(before: number): number {
    let rested = 0;
    for (const place of this.#places) {
      if (place.movedAt >= before || place.claim === 0) continue;
      this.#set(place, place.left, 0);
      rested += 1;
    }
    return rested;
  }

  #set(place: Place, left: number, claim: number): void {
    const build = this.#ofBuild.get(place.build);
    if (build) {
      build.left += left - place.left;
      build.claim += claim - place.claim;
    }
    this.#claims += claim - place.claim;
    place.left = left;
    place.claim = claim;
  }
}

const claimOf = (size: number, offset: number): number =>
  Math.min(size - offset, Math.max(offset, FIRST_BYTES));
