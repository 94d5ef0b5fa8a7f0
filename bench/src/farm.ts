import { startFarm, type Farm } from '@impgem/e2e';
import type { Client } from 'pg';
import { Builds } from './builds.js';
import { durability, openDatabase } from './database.js';
import { profiled } from './profile.js';
import { withEnd } from './with-end.js';

export interface BenchFarmOptions {
  executor: 'docker' | 'host';
  workers?: number;
  /** Of each worker. */
  slots?: number;
  workerEnv?: Record<string, string>;
  builders: Record<string, object>;
}

/** A farm of the built programs with what measuring needs: its builds, and its database to check them in. */
export interface BenchFarm {
  farm: Farm;
  builds: Builds;
  db: Client;
}

/** What the databases of this run have said of themselves; one, unless something is odd. */
export const durabilities = new Set<string>();

/** Starts a farm, with the database of its own that every farm has by default, and removes all of it in the end. */
export async function withFarm<T>(
  options: BenchFarmOptions,
  use: (farm: BenchFarm) => Promise<T>,
): Promise<T> {
  const farm = await startFarm({
    executor: options.executor,
    workers: options.workers ?? 1,
    masterEnv: profiled('master'),
    workerEnv: {
      IMPGEM_WORKER_SLOTS: String(options.slots ?? 2),
      ...profiled('worker'),
      ...options.workerEnv,
    },
  });
  return withEnd(
    () => farm.stop(),
    () => measured(farm, options.builders, use),
  );
}

async function measured<T>(
  farm: Farm,
  builders: BenchFarmOptions['builders'],
  use: (farm: BenchFarm) => Promise<T>,
): Promise<T> {
  // JSON is YAML
  await farm.apply(JSON.stringify({ builders }));
  const db = await openDatabase(farm);
  const durable = await durability(db);
  if (!durabilities.has(durable)) console.error(durable);
  durabilities.add(durable);
  const builds = await Builds.open(farm);
  try {
    return await use({ farm, builds, db });
  } catch (error) {
    console.error(farm.told());
    throw error;
  } finally {
    builds.close();
    await db.end().catch(() => undefined);
  }
}
