import type Docker from 'dockerode';
import type { Attempt, Identity, Swept } from '../executor.js';
import { statusOf, wordsOf } from './engine.js';
import { attemptOf, ownFilter } from './labels.js';

/** Asked after the objects were listed: what was made before the list is known by then. */
export interface Kept {
  keeps: (attempt: Attempt) => boolean;
  /** True for the names of containers and networks that this process uses. */
  owns: (name: string) => boolean;
  /** What refused to go at an earlier sweep; kept up to date. */
  stuck: Set<string>;
}

/**
 * Removes what earlier processes of this identity left: containers first, then the volumes and networks that
 * they used. What refuses (still in use) is left to the next sweep.
 */
export async function sweep(engine: Docker, identity: Identity, kept: Kept): Promise<Swept> {
  const filters = ownFilter(identity);
  const left = (name: string, labels: Record<string, string> | null | undefined): boolean => {
    const attempt = attemptOf(labels);
    return attempt ? !kept.keeps(attempt) : !kept.owns(name);
  };
  const containers = await engine.listContainers({ all: true, filters });
  const volumes = await engine.listVolumes({ filters });
  const networks = await engine.listNetworks({ filters });
  const objects: Leftover[] = [
    ...containers
      .filter(({ Names, Labels }) => left(Names[0]?.slice(1) ?? '', Labels))
      .map(({ Id }) => ({
        name: `container ${Id.slice(0, 12)}`,
        remove: () => engine.getContainer(Id).remove({ force: true, v: true }),
      })),
    ...(volumes.Volumes ?? [])
      .filter(({ Name, Labels }) => left(Name, Labels))
      .map(({ Name }) => ({
        name: `volume ${Name}`,
        remove: () => engine.getVolume(Name).remove(),
      })),
    ...networks
      .filter(({ Name, Labels }) => left(Name, Labels))
      .map(({ Id, Name }) => ({
        name: `network ${Name}`,
        remove: () => engine.getNetwork(Id).remove(),
      })),
  ];
  const found = objects.filter(({ name }) => !kept.stuck.has(name)).length;
  const stuck = await removeAll(objects);
  kept.stuck.clear();
  for (const { name } of stuck) kept.stuck.add(name);
  return { found, stuck: stuck.map(({ name, why }) => `${name} cannot be removed: ${why}`) };
}

interface Leftover {
  name: string;
  remove: () => Promise<unknown>;
}

/** Removes all that is there of one attempt, whoever made it. */
export async function sweepAttempt(
  engine: Docker,
  identity: Identity,
  attempt: Attempt,
): Promise<void> {
  const filters = ownFilter(identity, attempt);
  const containers = await engine.listContainers({ all: true, filters });
  await removeAll(
    containers.map(({ Id }) => ({
      name: Id,
      remove: () => engine.getContainer(Id).remove({ force: true, v: true }),
    })),
  );
  const { Volumes } = await engine.listVolumes({ filters });
  await removeAll(
    (Volumes ?? []).map(({ Name }) => ({
      name: Name,
      remove: () => engine.getVolume(Name).remove(),
    })),
  );
}

/** Answers those that refused; what is gone already is fine. */
async function removeAll(objects: readonly Leftover[]): Promise<{ name: string; why: string }[]> {
  const refused: { name: string; why: string }[] = [];
  for (const { name, remove } of objects) {
    try {
      await remove();
    } catch (error) {
      const status = statusOf(error);
      if (status === undefined) throw error;
      if (status !== 404) refused.push({ name, why: wordsOf(error) });
    }
  }
  return refused;
}
