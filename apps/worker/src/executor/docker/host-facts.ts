import { isIPv4 } from 'node:net';
import { readBlock, type Block } from './blocks.js';
import { overlap, parseSubnet, printSubnet, readRoutes, type Subnet } from './subnets.js';

/** What the engine's own machine says of its network. */
export interface HostFacts {
  routes: Subnet[];
  /** Its IPv4 addresses, loopback left out. */
  addresses: string[];
  /** Name servers that it asks. */
  resolvers: string[];
}

const SECTION = '---';
/** Asked in the engine's own namespace: the worker may sit in a container, or on another machine. */
export const ASK_HOST = `cat /proc/net/route; echo ${SECTION}; ip -4 -o addr; echo ${SECTION}; cat /etc/resolv.conf`;

export function readHostFacts(text: string): HostFacts {
  const [routes = '', addresses = '', resolvers = ''] = text.split(`${SECTION}\n`);
  const own = [...addresses.matchAll(/\binet (\d+\.\d+\.\d+\.\d+)/g)].map(([, one]) => one ?? '');
  return {
    routes: readRoutes(routes),
    addresses: [...new Set(own)].filter((one) => isIPv4(one) && !one.startsWith('127.')),
    resolvers: [...resolvers.matchAll(/^nameserver\s+(\S+)/gm)].map(([, one]) => one ?? ''),
  };
}

export interface HostBlocksOrder {
  facts: HostFacts;
  /** The range of all slots' networks: neighbours, and the addresses that the machine has in their networks. */
  range: Subnet;
  gateway: string;
  /** Name servers that the worker's config gives to steps. */
  resolvers: readonly string[];
}

/**
 * What keeps a step from the engine's machine: a route that leads nowhere for each of its addresses. What goes through
 * the machine goes on, since the gateway is only asked for its hardware address. A name server that steps ask there is
 * left out, or no name would be found.
 */
export function hostBlocks({ facts, range, gateway, resolvers }: HostBlocksOrder): Block[] {
  const asked = resolvers.length > 0 ? resolvers : facts.resolvers;
  const beyond = facts.addresses.filter((one) => !overlap(range, parseSubnet(`${one}/32`)));
  const addresses = new Set([gateway, ...beyond].filter((one) => !asked.includes(one)));
  return [printSubnet(range), ...addresses].flatMap((one) => readBlock(one, 'prohibit') ?? []);
}

/** The first address of a network, which the engine's machine has. */
export function gatewayOf(subnet: Subnet): string {
  return printSubnet({ first: subnet.first + 1, bits: 32 }).replace('/32', '');
}

/** Tries each address and port, in turns, and prints those that answer. */
export const PROBE = `for address in $ADDRESSES; do for port in $PORTS; do
  (nc -w 2 "$address" "$port" -e /bin/true </dev/null >/dev/null 2>&1 && echo "reached $address:$port") &
done; done; wait`;

export const readProbe = (text: string): string[] =>
  [...text.matchAll(/^reached (\S+)$/gm)].map(([, one]) => one ?? '').toSorted();
