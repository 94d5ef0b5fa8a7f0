import { isIPv4, isIPv6 } from 'node:net';
import { parseSubnet, printSubnet } from './subnets.js';

/**
 * Where clouds answer with the machine's credentials, as far as is known: AWS, GCP, Azure, Oracle, OpenStack and
 * most others within 169.254.0.0/16; Azure's agent (also its name server) at 168.63.129.16; Alibaba at 100.100.100.200;
 * Oracle's older cloud at 192.0.0.192. IPv6: AWS fd00:ec2::/32 (metadata at ::254, pods' credentials at ::23), GCP
 * fd20:ce::254, Oracle fd00:c1::a9fe:a9fe, Scaleway fd00:42::42, Akamai fd00:a9fe:a9fe::1, OpenStack fe80::a9fe:a9fe.
 */
export const METADATA: readonly string[] = [
  '169.254.0.0/16',
  '168.63.129.16/32',
  '100.100.100.200/32',
  '192.0.0.192/32',
  'fd00:ec2::/32',
  'fd20:ce::254/128',
  'fd00:c1::a9fe:a9fe/128',
  'fd00:42::42/128',
  'fd00:a9fe:a9fe::1/128',
  'fe80::a9fe:a9fe/128',
];

/** A route that leads nowhere. `blackhole`: what nobody may reach; `prohibit`: what this worker's policy does not allow. */
export interface Block {
  family: 4 | 6;
  kind: 'blackhole' | 'prohibit';
  /** As the kernel prints it: without the length of the prefix when that is one address. */
  to: string;
}

/** Reads an address or a network, IPv4 or IPv6; undefined when it is neither. */
export function readBlock(text: string, kind: Block['kind'] = 'blackhole'): Block | undefined {
  const [address = '', prefix, ...more] = text.split('/');
  if (more.length > 0 || (prefix !== undefined && !/^\d{1,3}$/.test(prefix))) return undefined;
  if (isIPv4(address)) {
    const bits = Number(prefix ?? 32);
    if (bits > 32) return undefined;
    if (bits === 0) return { family: 4, kind, to: 'default' };
    const to = printSubnet(parseSubnet(`${address}/${bits}`));
    return { family: 4, kind, to: to.replace(/\/32$/, '') };
  }
  const bits = Number(prefix ?? 128);
  if (!isIPv6(address) || address.includes('%') || bits > 128) return undefined;
  if (bits === 0) return { family: 6, kind, to: 'default' };
  const first = canonical(masked(address, bits));
  // These reach IPv4 by the routes of that.
  if (first.startsWith('::ffff:')) return undefined;
  return { family: 6, kind, to: bits === 128 ? first : `${first}/${bits}` };
}

/** The policy's list as routes; `metadata` stands for the list above. What cannot be read is left out. */
export function blocksOf(list: readonly string[]): Block[] {
  return list
    .flatMap((one) => (one === 'metadata' ? METADATA : [one]))
    .flatMap((one) => readBlock(one) ?? []);
}

const canonical = (address: string): string => new URL(`http://[${address}]`).hostname.slice(1, -1);

function masked(address: string, bits: number): string {
  const [head = '', tail] = canonical(address).split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail ? tail.split(':') : [];
  const all = [...groups, ...Array<string>(8 - groups.length - after.length).fill('0'), ...after];
  return all
    .map((group, at) => {
      const kept = Math.min(16, Math.max(0, bits - at * 16));
      const value = parseInt(group, 16);
      return (value - (value % 2 ** (16 - kept))).toString(16);
    })
    .join(':');
}

/** Sets the routes that its arguments name, three each. A kernel without IPv6 has none to set. */
export const SET_BLOCKS = `set -e
while [ $# -gt 2 ]; do
  if [ "$1" = -4 ] || [ -e /proc/net/if_inet6 ]; then ip "$1" route replace "$2" "$3"; fi
  shift 3
done`;

export const blockArguments = (blocks: readonly Block[]): string[] =>
  blocks.flatMap(({ family, kind, to }) => [`-${family}`, kind, to]);

/** Prints the blocks that there are, one a line, or that there is no IPv6 at all. */
export const REPORT_BLOCKS = `for f in 4 6; do
ip -$f route | grep -E '^(blackhole|prohibit) ' | while read -r kind to rest; do echo "block $kind $to"; done
done
[ -e /proc/net/if_inet6 ] || echo 'block no ipv6'`;

/** Which of them a report does not show. */
export function missingBlocks(blocks: readonly Block[], report: string): string[] {
  const lines = new Set(report.split('\n'));
  const noIpv6 = lines.has('block no ipv6');
  return blocks
    .filter(({ family, kind, to }) => {
      if (family === 6 && noIpv6) return false;
      return !lines.has(`block ${kind} ${to}`);
    })
    .map(({ to }) => to);
}
