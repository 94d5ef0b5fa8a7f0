import type Docker from 'dockerode';
import type { Attempt, Identity } from '../executor.js';
import { statusOf } from './engine.js';
import { attemptOf, ownFilter } from './labels.js';

/** Asked after the objects were listed: what was made before the list is known by then. */
export interface Kept {
  keeps: (attempt: Attempt) => boolean;
  /** True for the names of containers and networks that this process uses. */
  owns: (name: string) => boolean;
}

/**
 * Removes what earlier processes of this identity left: containers first, then the volumes and networks that
 * they used. Returns how many objects went. What refuses (still in use) is left to the next sweep.
 */
export async function sweep(engine: Docker, identity: Identity, kept: Kept): Promise<number> {
  const filters = ownFilter(identity);
  const left = (name: string, labels: Record<string, string> | null | undefined): boolean => {
    const attempt = attemptOf(labels);
    return attempt ? !kept.keeps(attempt) : !kept.owns(name);
  };
  const containers = await engine.listContainers({ all: true, filters });
  const volumes = await engine.listVolumes({ filters });
  const networks = await engine.listNetworks({ filters });
  const removed = [
    ...(await removeAll(
      containers.filter(({ Names, Labels }) => left(Names[0]?.slice(1) ?? '', Labels)),
      ({ Id }) => engine.getContainer(Id).remove({ force: true, v: true }),
    )),
    ...(await removeAll(
      (volumes.Volumes ?? []).filter(({ Name, Labels }) => left(Name, Labels)),
      ({ Name }) => engine.getVolume(Name).remove(),
    )),
    ...(await removeAll(
      networks.filter(({ Name, Labels }) => left(Name, Labels)),
      ({ Id }) => engine.getNetwork(Id).remove(),
    )),
  ];
  return removed.filter(Boolean).length;
}

/** Removes all that is there of one attempt, whoever made it. */
export async function sweepAttempt(
  engine: Docker,
  identity: Identity,
  attempt: Attempt,
): Promise<void> {
  const filters = ownFilter(identity, attempt);
  await removeAll(await engine.listContainers({ all: true, filters }), ({ Id }) =>
    engine.getContainer(Id).remove({ force: true, v: true }),
  );
  const { Volumes } = await engine.listVolumes({ filters });
  await removeAll(Volumes ?? [], ({ Name }) => engine.getVolume(Name).remove());
}

async function removeAll<T>(
  objects: readonly T[],
  remove: (object: T) => Promise<unknown>,
): Promise<boolean[]> {
  const done: boolean[] = [];
  for (const object of objects) {
    try {
      await remove(object);
      done.push(true);
    } catch (error) {
      if (statusOf(error) === undefined) throw error;
      done.push(false);
    }
  }
  return done;
}
