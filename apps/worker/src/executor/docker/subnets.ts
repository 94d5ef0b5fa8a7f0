import { FarmError } from '@impgem/kit';

/** An IPv4 network: first address as a number, length of its prefix. */
export interface Subnet {
  first: number;
  bits: number;
}

/** Each slot's network has 16 addresses: gateway, holder and a dozen services. */
const SLOT_BITS = 28;

const size = (bits: number): number => 2 ** (32 - bits);

/** Reads `10.213.0.0/16`; throws an `Error` that says what is wrong. */
export function parseSubnet(text: string): Subnet {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
  const [a = 256, b = 256, c = 256, d = 256, bits = 33] = (match ?? []).slice(1).map(Number);
  if (Math.max(a, b, c, d) > 255 || bits > 32) {
    throw new Error(`${JSON.stringify(text)} is no IPv4 network such as 10.213.0.0/16`);
  }
  const address = ((a * 256 + b) * 256 + c) * 256 + d;
  return { first: address - (address % size(bits)), bits };
}

export function printSubnet({ first, bits }: Subnet): string {
  const parts = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return `${parts.join('.')}/${bits}`;
}

export function overlap(a: Subnet, b: Subnet): boolean {
  return a.first < b.first + size(b.bits) && b.first < a.first + size(a.bits);
}

/** The networks that a Linux host has routes to, from the text of `/proc/net/route`; default routes left out. */
export function readRoutes(text: string): Subnet[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      const [destination, mask] = [fields[1], fields[7]];
      if (destination?.length !== 8 || mask?.length !== 8) return [];
      const bits = [...parseInt(mask, 16).toString(2)].filter((bit) => bit === '1').length;
      // The kernel prints addresses as little-endian words.
      const first = Buffer.from(destination, 'hex').readUInt32LE(0);
      return bits === 0 ? [] : [{ first, bits }];
    });
}

/**
 * A /28 of `range` that overlaps nothing that is taken, beginning the search at the `start`-th, so that workers
 * on one engine rarely want the same. Throws a `FarmError` when none is left.
 */
export function freeSubnet(range: Subnet, taken: readonly Subnet[], start: number): Subnet {
  const count = 2 ** Math.max(0, SLOT_BITS - range.bits);
  for (let at = 0; at < count; at++) {
    const first = range.first + ((start + at) % count) * size(SLOT_BITS);
    const candidate = { first, bits: SLOT_BITS };
    if (!taken.some((other) => overlap(candidate, other))) return candidate;
  }
  throw new FarmError(
    'engine-error',
    `no free network is left in ${printSubnet(range)}: give the worker another range (IMPGEM_NETWORKS_RANGE), or remove networks (docker network ls)`,
  );
}
