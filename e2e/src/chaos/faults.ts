/** The kinds of faults, what each does to a stage while a build writes, and what it may cost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually, patient } from '@impgem/testkit';
import type { Chance } from '../sim/chance.js';
import type { Engine } from './engine.js';
import type { Direction } from './proxy.js';
import type { Stage, StageWorker } from './stage.js';

export interface Scene {
  stage: Stage;
  engine: Engine;
  chance: Chance;
  /** The request whose build writes, and the worker that runs it. */
  request: number;
  worker: StageWorker;
  /** Seconds of silence that this round's farm bears. */
  lostAfterS: number;
}

export interface Fault {
  /** The attempt is lost, and another one must come out exact. Else the build ends at its first attempt. */
  spoils?: true;
  /** What only root can do: an engine of its own, networks. */
  root?: true;
  /** Wants silences to be noticed soon, and stands alone in its round: what heals slowly would be noticed, too. */
  lostAfterS?: number;
  database?: 'own';
  /** Makes it, waits, and ends it. */
  strike(scene: Scene): Promise<void>;
}

const wait = (chance: Chance, low: number, high: number): Promise<void> =>
  sleep(chance.between(low, high) * 1000);

/** `lostAfterS` of rounds in which silence shall be noticed; long enough to find another master on a busy machine. */
const SHORT = patient(20);

/** The most telling first: a short run comes no further. */
const KINDS = {
  /** One master, or all of them, from one moment to the next. */
  'master killed': {
    async strike({ stage, chance, worker }) {
      const serving = stage.masterOf(worker);
      const victims = chance.odds(0.5) ? [serving] : stage.masters;
      await Promise.all(victims.map((master) => stage.killMaster(master)));
      await wait(chance, 0, 2);
      await Promise.all(victims.map((master) => master.startMaster()));
    },
  },
  'engine killed': {
    spoils: true,
    root: true,
    async strike({ engine, chance }) {
      await engine.kill();
      await wait(chance, 0, 2);
      await engine.revive();
    },
  },
  /** The master goes on hearing the old connection while the worker has a new one, and says everything again. */
  'connection doubled': {
    async strike({ chance, worker: { proxy } }) {
      await proxy.orphan(chance.between(50, 300));
      await eventually(() => proxy.connections > 0, { what: 'a new connection of the worker' });
      await wait(chance, 0, 1);
      proxy.sayLate();
      await wait(chance, 0, 1);
      proxy.heal();
    },
  },
  'worker killed': {
    async strike({ stage, chance, worker }) {
      await stage.killWorker(worker);
      await wait(chance, 0, 2);
      stage.startWorker(worker);
    },
  },
  /** Past `lostAfter`: it wakes while another worker runs its build. */
  'worker frozen, too long': {
    spoils: true,
    lostAfterS: SHORT,
    async strike({ stage, worker, request }) {
      worker.program.kill('SIGSTOP');
      try {
        let seen: unknown;
        await eventually(
          async () => {
            const { builds } = await stage.request(request);
            seen = builds;
            return builds.at(-1)?.state === 'running' && builds.length > 1;
          },
          { what: 'another attempt', saw: () => JSON.stringify(seen) },
        );
        const { builds } = await stage.request(request);
        const heir = await stage.build(builds.at(-1)?.id ?? 0);
        if (heir.worker === worker.name)
          throw new Error(`the frozen ${worker.name} got its build again`);
      } finally {
        worker.program.kill('SIGCONT');
      }
    },
  },
  'Postgres killed': {
    async strike({ stage, chance }) {
      await stage.downPostgres('SIGKILL');
      await wait(chance, 0, 1);
      await stage.upPostgres();
    },
  },
  partition: {
    root: true,
    async strike({ chance, worker }) {
      await worker.space?.part();
      await wait(chance, 1, 5);
      await worker.space?.join();
    },
  },
  'master frozen': {
    lostAfterS: SHORT,
    async strike({ stage, chance, worker, lostAfterS }) {
      const serving = stage.masterOf(worker);
      const port = Number(new URL(serving.url).port);
      stage.frozen.add(serving);
      serving.master.kill('SIGSTOP');
      worker.proxy.avoided.add(port);
      const long = chance.odds(0.3);
      await (long ? sleep((lostAfterS + 2) * 1000) : wait(chance, 1, 5));
      serving.master.kill('SIGCONT');
      stage.frozen.delete(serving);
      worker.proxy.avoided.delete(port);
    },
  },
  'connection cut': {
    async strike({ chance, worker: { proxy } }) {
      proxy.cut();
      await wait(chance, 0, 3);
      proxy.heal();
    },
  },
  'Postgres away': {
    database: 'own',
    async strike({ stage, chance }) {
      await stage.downPostgres('SIGINT');
      await wait(chance, 1, 5);
      await stage.upPostgres();
    },
  },
  'worker frozen, shortly': {
    async strike({ chance, worker }) {
      worker.program.kill('SIGSTOP');
      await wait(chance, 1, 5);
      worker.program.kill('SIGCONT');
    },
  },
  'connection stalled': {
    async strike({ chance, worker: { proxy } }) {
      proxy.stall(chance.pick<Direction[]>([['up'], ['down'], ['up', 'down']]));
      await wait(chance, 1, 5);
      proxy.heal();
    },
  },
  'connection slow': {
    async strike({ chance, worker: { proxy } }) {
      proxy.slow(chance.between(20_000, 500_000));
      await wait(chance, 1, 4);
      proxy.heal();
    },
  },
} satisfies Record<string, Fault>;

export type Kind = keyof typeof KINDS;
export const FAULTS: Record<Kind, Fault> = KINDS;
export const ALL_KINDS = Object.keys(KINDS) as Kind[];
