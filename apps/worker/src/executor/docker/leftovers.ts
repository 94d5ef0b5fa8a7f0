import type { FarmObject, Removal } from '@impgem/kit';
import type Docker from 'dockerode';
import { statusOf, wordsOf } from './engine.js';
import { attemptOf, roleOf } from './labels.js';

type Labels = Record<string, string> | null | undefined;

function farmObject(
  kind: FarmObject['kind'],
  id: string,
  name: string,
  labels: Labels,
): FarmObject {
  const expires = Number(labels?.['impgem.expires']) * 1000;
  return {
    kind,
    id,
    name,
    worker: labels?.['impgem.worker'] ?? '',
    role: roleOf(labels) ?? '',
    build: attemptOf(labels)?.build ?? null,
    expires: Number.isFinite(expires) ? new Date(expires).toISOString() : null,
  };
}

/** All that workers of the farm have in this engine: containers first, then what they use. */
export async function farmObjects(engine: Docker, farm: string): Promise<FarmObject[]> {
  const filters = { label: [`impgem.farm=${farm}`] };
  const containers = await engine.listContainers({ all: true, filters });
  const volumes = await engine.listVolumes({ filters });
  const networks = await engine.listNetworks({ filters });
  return [
    ...containers.map(({ Id, Names, Labels }) =>
      farmObject('container', Id, Names[0]?.slice(1) ?? Id, Labels),
    ),
    ...(volumes.Volumes ?? []).map(({ Name, Labels }) => farmObject('volume', Name, Name, Labels)),
    ...networks.map(({ Id, Name, Labels }) => farmObject('network', Id, Name, Labels)),
  ];
}

/** Removes those that are wanted gone and are the farm's indeed; containers by force, with their anonymous volumes. */
export async function removeObjects(
  engine: Docker,
  farm: string,
  wanted: readonly Pick<FarmObject, 'kind' | 'id'>[],
): Promise<Removal[]> {
  const done: Removal[] = [];
  for (const { kind, id } of await farmObjects(engine, farm)) {
    if (!wanted.some((one) => one.kind === kind && one.id === id)) continue;
    try {
      await remove(engine, kind, id);
      done.push({ kind, id });
    } catch (error) {
      const isGone = statusOf(error) === 404;
      done.push({ kind, id, ...(isGone ? {} : { problem: wordsOf(error) }) });
    }
  }
  return done;
}

function remove(engine: Docker, kind: FarmObject['kind'], id: string): Promise<unknown> {
  switch (kind) {
    case 'container':
      return engine.getContainer(id).remove({ force: true, v: true });
    case 'volume':
      return engine.getVolume(id).remove();
    case 'network':
      return engine.getNetwork(id).remove();
  }
}
