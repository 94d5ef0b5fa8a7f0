import type { ModelChannel, ModelDatabase } from '@impgem/testkit';
import type { Process, World } from './world.js';

const CONNECT_TIMEOUT_MS = 5000;
const STATEMENT_TIMEOUT_MS = 60_000;

/** Troubles so short may pass between two looks of a master after its leases: lease time runs through them. */
export const UNNOTICED_MS = 20_000;
/** A look may last as long as that, and the one that meets a stall begins up to 5 s after it did. */
const UNNOTICED_STALL_MS = UNNOTICED_MS + 5000;

/** The database server: up or down, or so slow that nothing comes back for a while. */
export class DatabaseServer {
  #downUntil = 0;
  stalledUntil = 0;
  readonly links = new Set<DatabaseLink>();
  /** Until when something was last wrong with it for so long that masters must notice. */
  troubleUntil = -Infinity;

  constructor(
    readonly world: World,
    readonly db: ModelDatabase,
  ) {}

  get up(): boolean {
    return this.world.now >= this.#downUntil;
  }

  goDown(ms: number): void {
    this.#downUntil = Math.max(this.#downUntil, this.world.now + ms);
    if (ms > UNNOTICED_MS) this.troubleUntil = Math.max(this.troubleUntil, this.#downUntil);
    for (const link of this.links) link.breakOff();
    this.world.after(ms, () => {
      for (const link of this.links) link.backSoon();
    });
  }

  stall(ms: number): void {
    this.stalledUntil = Math.max(this.stalledUntil, this.world.now + ms);
    if (ms > UNNOTICED_STALL_MS) this.troubleUntil = Math.max(this.troubleUntil, this.stalledUntil);
  }

  notify(channels: readonly ModelChannel[]): void {
    if (channels.length > 0) for (const link of this.links) link.hear(channels);
  }
}

/** One master's way to the database. A transaction whose answer gets lost may have been committed all the same. */
export class DatabaseLink {
  /** Raised when connections break. */
  #generation = 0;
  #cutUntil = 0;
  #listening = true;
  troubleUntil = -Infinity;
  /** So many answers from now on, one gets lost; its transaction is committed. */
  losesAnswer = -1;
  readonly #handlers: { channel: ModelChannel; handler: () => void }[] = [];

  constructor(
    private readonly server: DatabaseServer,
    private readonly process: Process,
  ) {
    server.links.add(this);
    process.onDeath(() => server.links.delete(this));
  }

  run<T>(act: (db: ModelDatabase) => T, then: (value: T) => void, failed: () => void): void {
    const { world } = this.server;
    const generation = this.#generation;
    world.after(world.chance.delay(2, 200), () => this.#arrive(generation, act, then, failed));
  }

  listen(channel: ModelChannel, handler: () => void): void {
    this.#handlers.push({ channel, handler });
  }

  /** No way to the database for a while. */
  cut(ms: number): void {
    const { world } = this.server;
    this.#cutUntil = Math.max(this.#cutUntil, world.now + ms);
    if (ms > UNNOTICED_MS) this.troubleUntil = this.#cutUntil;
    this.breakOff();
    world.after(ms, () => this.backSoon());
  }

  breakOff(): void {
    this.#generation += 1;
    this.#listening = false;
  }

  /** The listener connects anew, and then every handler is called, since notifications were missed. */
  backSoon(): void {
    this.process.after(this.server.world.chance.between(10, 3000), () => {
      if (this.#listening || this.#isDown) return;
      this.#listening = true;
      for (const { handler } of this.#handlers) handler();
    });
  }

  hear(channels: readonly ModelChannel[]): void {
    if (!this.#listening) return;
    const generation = this.#generation;
    this.process.after(this.server.world.chance.delay(2, 300), () => {
      if (generation !== this.#generation) return;
      for (const { channel, handler } of this.#handlers) if (channels.includes(channel)) handler();
    });
  }

  get #isDown(): boolean {
    return !this.server.up || this.server.world.now < this.#cutUntil;
  }

  #fail(failed: () => void): void {
    const { chance } = this.server.world;
    const ms = chance.odds(0.8) ? chance.between(0, 20) : CONNECT_TIMEOUT_MS;
    this.process.after(ms, failed);
  }

  #arrive<T>(
    generation: number,
    act: (db: ModelDatabase) => T,
    then: (value: T) => void,
    failed: () => void,
  ): void {
    const { server, process } = this;
    const { world, db } = server;
    // What a dead program had sent is still done, or was not sent yet.
    if (!process.alive && world.chance.odds(0.5)) return;
    // What was sent over a connection that broke; a new try would take a new one.
    if (this.#isDown || generation !== this.#generation) return this.#fail(failed);
    const waits = server.stalledUntil - world.now;
    if (waits > STATEMENT_TIMEOUT_MS) {
      world.after(STATEMENT_TIMEOUT_MS, () => this.#fail(failed));
      return;
    }
    if (waits > 0) {
      const again = () => this.#arrive(generation, act, then, failed);
      world.after(waits + world.chance.between(0, 5), again);
      return;
    }
    const value = act(db);
    server.notify(db.takeNotified());
    world.after(world.chance.delay(2, 200), () => {
      if (generation !== this.#generation || this.losesAnswer-- === 0) this.#fail(failed);
      else process.when(() => then(value));
    });
  }
}
