import type Docker from 'dockerode';
import type { Attempt, Identity } from '../executor.js';
import { MOUNT } from './docker-workspace.js';
import { run } from './helper.js';
import { labelsOf, nameOf, ownFilter } from './labels.js';

/** How long a helper may look, in seconds; what takes longer counts as `UNKNOWN` bytes. */
const LOOK_S = 20;
const UNKNOWN = 64 * 1024 * 1024;

export interface UseOrder {
  engine: Docker;
  identity: Identity;
  image: string;
  attempt: Attempt;
  volume: string;
}

/** What an attempt takes on the engine's disk: its volume, as a helper counts it, and what its steps wrote elsewhere. */
export async function usedBytes(order: UseOrder): Promise<number> {
  const { engine, identity, attempt } = order;
  const filters = ownFilter(identity, attempt);
  const [volume, containers] = await Promise.all([
    volumeBytes(order).catch(() => UNKNOWN),
    engine.listContainers({ all: true, size: true, filters }).catch(() => []),
  ]);
  const layers = containers.map((one) => (one as { SizeRw?: number }).SizeRw ?? 0);
  return layers.reduce((sum, bytes) => sum + bytes, volume);
}

async function volumeBytes(order: UseOrder): Promise<number> {
  const { engine, identity, image, attempt, volume } = order;
  const printed = await run(engine, {
    name: nameOf(identity, 'helper', attempt),
    Image: image,
    Cmd: ['/bin/busybox', 'timeout', String(LOOK_S), '/bin/busybox', 'du', '-sxk', MOUNT],
    Labels: labelsOf(identity, 'helper', attempt),
    HostConfig: {
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      CapAdd: ['DAC_READ_SEARCH'],
      Mounts: [{ Type: 'volume', Source: volume, Target: MOUNT, ReadOnly: true }],
    },
  });
  return Number.parseInt(printed, 10) * 1024;
}
