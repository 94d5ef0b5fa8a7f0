import type { FarmObject, Finding, Removal } from '@impgem/kit';
import type { DockerConfig } from '../config.js';
import { connect, engineFailure, noEngine, statusOf } from './engine.js';
import { examineEngine } from './examine-engine.js';
import { dataRoot } from './image-storage.js';
import { farmObjects, removeObjects } from './leftovers.js';

/** What people do with an engine beside the worker that uses it. */
export interface EngineCare {
  examine(): Promise<Finding[]>;
  /** The folder of its data; absent where it cannot be seen from here. */
  root(): Promise<string | undefined>;
  /** What workers of the farm have in it. */
  objects(farm: string): Promise<FarmObject[]>;
  /** Removes some of them, whoever made them. */
  remove(farm: string, wanted: readonly Pick<FarmObject, 'kind' | 'id'>[]): Promise<Removal[]>;
}

export function engineCare({ host }: Pick<DockerConfig, 'host'>): EngineCare {
  const engine = connect(host);
  return {
    examine: () => examineEngine(engine, host),
    root: () => dataRoot(engine, host),
    objects: (farm) => told(host, farmObjects(engine, farm)),
    remove: (farm, wanted) => told(host, removeObjects(engine, farm, wanted)),
  };
}

/** With the mend when no engine answers. */
async function told<T>(host: string | undefined, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw statusOf(error) === undefined ? noEngine(error, host) : engineFailure(error, 'answer');
  }
}
