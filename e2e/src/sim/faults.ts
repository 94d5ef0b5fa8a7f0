import { UNNOTICED_MS } from './database-link.js';
import type { Farm } from './simulate.js';
import type { Side } from './network.js';
import type { Machine } from './worker.js';

/** What goes wrong, and how often, by weight. */
const WEIGHTS = {
  /** A connection ends; one, both or neither of its ends learn of it. */
  cut: 6,
  /** All that is under way on a connection, and all that follows, is late. */
  stall: 4,
  /** What goes over a connection arrives twice, as far as the protocol allows it. */
  double: 3,
  /** Nothing in or out of a worker's machine. */
  partition: 4,
  'kill worker': 5,
  'freeze worker': 4,
  'power cut': 1,
  'drain worker': 1,
  'stop worker': 1,
  'broken disk': 1,
  'kill master': 5,
  'stop master': 2,
  'freeze master': 3,
  'database down': 3,
  'database stall': 3,
  'database unreachable': 5,
  /** A transaction is committed, and its master never learns it. */
  'lost answer': 4,
  'clock jump': 1,
  cancel: 3,
} as const;

export type FaultKind = keyof typeof WEIGHTS;

const KINDS = Object.entries(WEIGHTS).flatMap(([kind, weight]) =>
  Array.from({ length: weight }, () => kind as FaultKind),
);

/** The troubles of one run, drawn at its beginning; from `calmAt` on nothing new goes wrong, and all is mended. */
export class Faults {
  readonly counts: Partial<Record<FaultKind, number>> = {};
  readonly calmAt: number;

  constructor(private readonly farm: Farm) {
    const { world } = farm;
    const { chance } = world;
    this.calmAt = chance.between(60_000, 400_000);
    const count = chance.int(0, 14);
    for (let at = 0; at < count; at++)
      world.after(chance.between(0, this.calmAt), () => this.#strike(chance.pick(KINDS)));
    world.after(this.calmAt, () => this.#mend());
  }

  /** How long it lasts: mostly short, sometimes beyond every limit of the protocol, never beyond the calm. */
  #lasting(): number {
    const { chance, now } = this.farm.world;
    const ms = chance.odds(0.6) ? chance.between(10, 15_000) : chance.between(15_000, 200_000);
    return Math.max(1, Math.min(ms, this.calmAt - now));
  }

  /** Often long enough for another master to give builds of this one's workers away. */
  #lastingLong(): number {
    const { chance, now } = this.farm.world;
    if (chance.odds(0.4)) return this.#lasting();
    return Math.max(1, Math.min(chance.between(90_000, 250_000), this.calmAt - now));
  }

  #strike(kind: FaultKind): void {
    const { world } = this.farm;
    const { chance } = world;
    const machine = chance.pick(this.farm.machines);
    const at = chance.int(0, 1);
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    world.note(() => `fault: ${kind} (${machine.name}, master-${at + 1})`);
    switch (kind) {
      case 'cut':
      case 'stall':
      case 'double':
        return this.#connection(kind);
      case 'partition':
        return this.#partition(machine);
      case 'kill worker':
      case 'power cut':
        if (kind === 'power cut') machine.losePower();
        else machine.kill();
        return this.#startAgain(machine);
      case 'freeze worker':
        return machine.worker?.process.freeze(this.#lasting());
      case 'drain worker':
      case 'stop worker':
        machine.worker?.dispatch({ type: 'drain' });
        if (kind === 'stop worker')
          machine.worker?.process.after(chance.between(0, 5000), () =>
            machine.worker?.dispatch({ type: 'stop' }),
          );
        return this.#startAgain(machine);
      case 'broken disk':
        return chance.pick(machine.worker?.journals ?? [])?.breakDown();
      case 'cancel':
        return this.#cancel();
      default:
        return this.#farmWide(kind, at);
    }
  }

  #farmWide(kind: FaultKind, at: number): void {
    const { farm } = this;
    const { world, server } = farm;
    const master = farm.masters[at];
    const ms = kind === 'database unreachable' ? this.#lastingLong() : this.#lasting();
    switch (kind) {
      case 'kill master':
        master?.process.die();
        return void world.after(ms, () => farm.startMaster(at));
      case 'stop master':
        if (master?.process.alive) master.process.when(() => master.stop());
        return void world.after(ms + 2500, () => farm.startMaster(at));
      case 'freeze master':
        if (!master) return;
        master.process.freeze(ms);
        if (ms > UNNOTICED_MS)
          farm.referee.deafUntil.set(master.process.name, master.process.frozenUntil);
        return;
      case 'database down':
        return server.goDown(ms);
      case 'database stall':
        return server.stall(ms);
      case 'database unreachable':
        return master?.link.cut(ms);
      case 'lost answer':
        if (master) master.link.losesAnswer = world.chance.int(0, 6);
        return;
      case 'clock jump':
        farm.clockOffset += world.chance.between(-120_000, 120_000);
        return;
    }
  }

  #connection(kind: 'cut' | 'stall' | 'double'): void {
    const { chance } = this.farm.world;
    const open = [...this.farm.connections].filter((connection) => !connection.isDead);
    if (open.length === 0) return;
    const connection = chance.pick(open);
    if (kind === 'stall') connection.stall(this.#lasting());
    else if (kind === 'double') connection.double(this.#lasting());
    else connection.cut(chance.pick(TOLD), 60_000);
  }

  #partition(machine: Machine): void {
    const { world, connections } = this.farm;
    machine.cutOffUntil = world.now + this.#lasting();
    for (const connection of connections)
      if (connection.name === machine.name) connection.cut([], 60_000);
  }

  #startAgain(machine: Machine): void {
    this.farm.world.after(this.#lasting(), () => machine.start());
  }

  #cancel(): void {
    const { world, server, referee, livingMasters } = this.farm;
    const waiting = [...server.db.requests.values()].filter(({ state }) => state !== 'finished');
    if (waiting.length === 0 || livingMasters.length === 0) return;
    const { id } = world.chance.pick(waiting);
    referee.cancelled.add(id);
    const reason = { code: 'cancelled', message: 'cancelled by somebody' };
    const master = world.chance.pick(livingMasters);
    master.process.when(() =>
      master.transaction(
        (db) => db.cancelRequest(id, reason),
        () => {},
        () => {},
      ),
    );
  }

  /** Everything is started again that is down, and stays up. */
  #mend(): void {
    const { farm } = this;
    farm.world.note(() => 'faults: none from here on');
    for (const at of [0, 1]) farm.world.after(5000, () => farm.startMaster(at));
    for (const machine of farm.machines) this.#keepUp(machine);
  }

  /** A worker that still drains ends when it is done, and its service manager starts it again. */
  #keepUp(machine: Machine): void {
    machine.start();
    this.farm.world.after(10_000, () => this.#keepUp(machine));
  }
}

const TOLD: readonly (readonly Side[])[] = [['worker', 'master'], ['worker'], ['master'], []];
