import Docker from 'dockerode';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './patience.js';

/** Whose objects are looked at: of one worker, by its labels; of any farm where none is named. */
export interface EngineScope {
  farm?: string;
  worker: string;
}

/**
 * An identity for a test's own worker. The runner of all tests is told of the farm by a file, so that it can remove what
 * is left on the engine when it is broken off.
 */
export function testIdentity(): Required<EngineScope> {
  const farm = randomUUID();
  const folder = process.env['IMPGEM_TEST_FARMS'];
  if (folder) writeFileSync(join(folder, farm), '');
  return { farm, worker: randomUUID() };
}

/** Where the tests' Docker Engine is: not always at the usual socket. */
export const testEngineHost = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';

/** The tests' Docker Engine. */
export function testEngine(): Docker {
  return new Docker();
}

/**
 * What the engine holds, one line an object, sorted: containers, volumes, networks. Without a scope all of it;
 * with one, only that worker's objects by label, and every volume without a name of its own, since a volume
 * that a container left behind carries no label.
 */
export async function engineObjects(scope?: EngineScope): Promise<string[]> {
  const engine = testEngine();
  const labels = scope && [
    ...(scope.farm ? [`impgem.farm=${scope.farm}`] : []),
    `impgem.worker=${scope.worker}`,
  ];
  const filters = labels ? { label: labels } : {};
  const [containers, volumes, unnamed, networks] = await Promise.all([
    engine.listContainers({ all: true, filters }),
    engine.listVolumes({ filters }),
    scope ? engine.listVolumes() : undefined,
    engine.listNetworks({ filters }),
  ]);
  const names = [
    ...(volumes.Volumes ?? []),
    ...(unnamed?.Volumes ?? []).filter(({ Name }) => /^[0-9a-f]{64}$/.test(Name)),
  ].map(({ Name }) => Name);
  return [
    ...containers.map(({ Id, Names }) => `container ${Names[0] ?? Id}`),
    ...[...new Set(names)].map((name) => `volume ${name}`),
    ...networks.map(({ Name }) => `network ${Name}`),
  ].toSorted();
}

/**
 * Waits until the engine holds nothing beyond `before`; throws with the list of what is left after `withinMs` (of an ordinary machine).
 * Objects that others removed meanwhile are no matter.
 */
export async function expectNothingLeft(
  before: readonly string[],
  scope?: EngineScope,
  withinMs = 30_000,
): Promise<void> {
  let left: string[] = [];
  await eventually(
    async () => {
      left = (await engineObjects(scope)).filter((object) => !before.includes(object));
      return left.length === 0;
    },
    { timeoutMs: withinMs, what: 'an engine with nothing left on it', saw: () => left.join('\n') },
  );
}

/**
 * The scope for a test's comparison: all of the engine where a run has it for itself
 * (`IMPGEM_TEST_WHOLE_ENGINE=1`, as in CI), else only the test's own identity.
 */
export function comparedScope(own: EngineScope): EngineScope | undefined {
  return process.env['IMPGEM_TEST_WHOLE_ENGINE'] === '1' ? undefined : own;
}
