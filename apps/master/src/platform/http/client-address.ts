/** Whose request it is, as far as addresses say so: behind proxies that are trusted, what those say. */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';

/** Whether a hop's word counts: hop 0 is the peer of the connection. */
export type Trust = (address: string, hop: number) => boolean;

/**
 * From the setting: `true` trusts the peer of the connection, and nobody whom that names, since what stands further left in
 * X-Forwarded-For is what the client wrote; a list of addresses and subnets trusts those.
 */
export function trustOf(setting: boolean | string): Trust {
  if (typeof setting === 'boolean') return (_, hop) => setting && hop === 0;
  const trusted = new BlockList();
  for (const part of setting.split(',').map((one) => one.trim())) {
    const [address = '', bits] = part.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) trusted.addAddress(address, family);
    else trusted.addSubnet(address, Number(bits), family);
  }
  return (address) => {
    const plain = unmapped(address);
    return isIP(plain) > 0 && trusted.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
  };
}

/** For a request that Fastify does not see, such as an upgrade; elsewhere `request.ip` says the same. */
export function clientAddress(request: IncomingMessage, trust: Trust): string {
  const forwarded = String(request.headers['x-forwarded-for'] ?? '')
    .split(',')
    .map((one) => one.trim());
  let address = request.socket.remoteAddress ?? '';
  for (let hop = 0; trust(address, hop); hop++) {
    const next = forwarded.pop();
    if (!next) break;
    address = next;
  }
  return address;
}

/** What one party has of the addresses: an IPv4 address, or the 64 bits of an IPv6 network. */
export function addressBlock(address: string): string {
  const plain = unmapped(address).replace(/%.*$/, '');
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.split('::');
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail.replace(/[\d.]+\.[\d.]+$/, '0:0'));
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0');
  const all = tail === undefined ? left : [...left, ...zeros, ...right];
  const network = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}

const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));

function unmapped(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}
