/**
 * One run: a farm of two masters and several workers in virtual time, troubled for some minutes, then left alone
 * until it is at rest. The same seed makes the same run.
 */
import type { BuildPlan } from '@impgem/pipeline';
import { ModelDatabase } from '@impgem/testkit';
import { Chance } from './chance.js';
import { DatabaseServer } from './database-link.js';
import { drawBuild, isEndless, scriptOf, type BuildScript } from './engine.js';
import { Faults, type FaultKind } from './faults.js';
import { BUILD_GRACE_MS, LOST_AFTER_MS, Master } from './master.js';
import { Connection } from './network.js';
import { Referee, Violation } from './referee.js';
import { HANDSHAKE_MS, Machine, type Dialer, type Surroundings } from './worker.js';
import { World } from './world.js';

export interface RunOptions {
  traced?: boolean;
}

export interface RunReport {
  seed: number;
  violation: Violation | undefined;
  /** Virtual milliseconds. */
  ms: number;
  events: number;
  faults: Partial<Record<FaultKind, number>>;
  workers: number;
  requests: number;
  attempts: number;
  /** Sent over the wire. */
  frames: number;
  bytes: number;
  trace: readonly string[];
}

/** Everything must be at rest so long after the last trouble, besides the time that the builds themselves take. */
const REST_MS = 20 * 60_000;
const LOOK_MS = 5000;
/** Timeout of the builds that would never end. Workers here know of none, so that their master has to. */
const TIMEOUT_MS = 60_000;
const OVERDUE_MS = TIMEOUT_MS + 2 * (BUILD_GRACE_MS + 2 * LOST_AFTER_MS);
const LABELS = ['a', 'b'];

export class Farm implements Surroundings {
  readonly world: World;
  readonly referee: Referee;
  readonly server: DatabaseServer;
  readonly masters: (Master | undefined)[] = [];
  readonly machines: Machine[] = [];
  readonly connections = new Set<Connection>();
  readonly #scripts = new Map<number, BuildScript>();
  /** By how much the database's clock differs. */
  clockOffset = 1e12;
  /** Those of connections that are gone. */
  #frames = 0;
  #starts = 0;

  constructor(seed: number, { traced = false }: RunOptions) {
    const chance = new Chance(seed);
    this.world = new World(chance, traced);
    this.referee = new Referee(this.world);
    const db = new ModelDatabase(() => this.world.now + this.clockOffset, this.referee);
    this.server = new DatabaseServer(this.world, db);
    this.referee.db = db;
    for (const at of [0, 1]) this.startMaster(at);
    const count = chance.int(1, 4);
    for (let at = 0; at < count; at++) {
      const labels = at === 0 ? LABELS : LABELS.filter(() => chance.odds(0.7));
      this.machines.push(new Machine(this, `worker-${at + 1}`, chance.int(1, 3), labels));
    }
    this.referee.machines = this.machines;
    for (const machine of this.machines)
      this.world.after(chance.between(0, 3000), () => machine.start());
  }

  startMaster(at: number): void {
    if (this.masters[at]?.process.alive) return;
    this.#starts += 1;
    const name = `master-${at + 1}.${this.#starts}`;
    this.masters[at] = new Master(this.world, this.server, this.referee, name);
  }

  get livingMasters(): Master[] {
    return this.masters.flatMap((master) => (master?.process.alive ? [master] : []));
  }

  get frames(): number {
    return [...this.connections].reduce((sum, { frames }) => sum + frames, this.#frames);
  }

  submit(): void {
    const { chance } = this.world;
    const script = drawBuild(chance);
    const plan = planOf(script);
    const labels = LABELS.filter(() => chance.odds(0.2));
    const retry = { infrastructure: chance.int(0, 3), failure: chance.odds(0.2) ? 1 : 0 };
    const lostAfterMs = chance.odds(0.3) ? chance.int(60_000, 150_000) : undefined;
    const about = { rank: chance.int(0, 5), retry, lostAfterMs };
    const id = this.server.db.submit({ plan, labels, ...about });
    this.#scripts.set(id, script);
    this.server.notify(this.server.db.takeNotified());
  }

  /** How long what is not finished may take, all attempts that there may be one after the other. */
  workMs(): number {
    const open = [...this.server.db.requests.values()].filter(({ state }) => state !== 'finished');
    const each = open.map(({ id, retry: { infrastructure, failure } }) => {
      const steps = this.#scripts.get(id)?.steps ?? [];
      const once = steps.reduce(
        (sum, { endsAt, trouble }) => sum + (trouble === 'endless' ? OVERDUE_MS : endsAt),
        0,
      );
      return once * (infrastructure + failure + 2);
    });
    return each.reduce((sum, ms) => sum + ms, 0);
  }

  // ── Surroundings ──

  scriptOf(build: number): BuildScript {
    const { request = 0, attempt = 1 } = this.server.db.builds.get(build) ?? {};
    return scriptOf(this.#scripts.get(request) as BuildScript, attempt);
  }

  dial(machine: Machine, end: Dialer): Connection {
    const { world } = this;
    const { chance } = world;
    const connection = new Connection(world, machine.name);
    connection.attach('worker', end);
    for (const old of this.connections)
      if (old.isDead && this.connections.delete(old)) this.#frames += old.frames;
    this.connections.add(connection);
    const master = chance.pick(this.masters);
    let settled = false;
    const settle = (act: () => void) => {
      if (settled) return;
      settled = true;
      end.process.when(act);
    };
    const refuse = (code: number, why: string, status?: number) =>
      settle(() => {
        connection.terminate('worker');
        end.refused(code, why, status);
      });
    end.process.after(HANDSHAKE_MS, () => refuse(1006, 'nobody answers'));
    if (world.now < machine.cutOffUntil) return connection;
    if (!master?.process.alive || master.stopping) {
      world.after(chance.delay(10, 1000), () => refuse(1006, 'connection refused'));
      return connection;
    }
    const check = () =>
      master.transaction(
        () => true,
        () => {
          if (settled || master.stopping) return refuse(1006, 'stopping', 503);
          master.accept(connection, machine.id);
          world.after(chance.delay(10, 1000), () => settle(() => end.opened()));
        },
        () => refuse(1006, 'the database does not answer', 503),
      );
    world.after(chance.delay(10, 1000), () => master.process.when(check));
    return connection;
  }
}

export function simulate(seed: number, options: RunOptions = {}): RunReport {
  const farm = new Farm(seed, options);
  const { world, referee } = farm;
  const { chance } = world;
  const requests = chance.int(1, 8);
  const faults = new Faults(farm);
  for (let at = 0; at < requests; at++)
    world.after(chance.between(0, faults.calmAt * 0.7), () => farm.submit());
  let events = 0;
  let violation: Violation | undefined;
  let look = faults.calmAt;
  let restAt: number | undefined;
  try {
    for (; world.step(); events++) {
      if (world.now < look) continue;
      look = world.now + LOOK_MS;
      restAt ??= world.now + REST_MS + farm.workMs();
      const unrest = referee.unrest(farm.livingMasters);
      if (!unrest) break;
      if (world.now > restAt) referee.fail('nothing waits', unrest);
    }
    referee.judge();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error;
  }
  const { db } = farm.server;
  const builds = [...db.builds.values()];
  return {
    seed,
    violation,
    ms: world.now,
    events,
    faults: faults.counts,
    workers: farm.machines.length,
    requests: db.requests.size,
    attempts: builds.length,
    frames: farm.frames,
    bytes: builds.flatMap(({ steps }) => steps).reduce((sum, { logBytes }) => sum + logBytes, 0),
    trace: world.trace ?? [],
  };
}

function planOf(script: BuildScript): BuildPlan {
  const { steps } = script;
  return {
    ...(isEndless(script) ? { timeoutMs: TIMEOUT_MS } : {}),
    builder: 'simulated',
    number: 1,
    properties: {},
    steps: steps.map((_, index) => ({ name: `step-${index}`, kind: 'run' })),
  } as unknown as BuildPlan;
}
