import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { addressBlock, clientAddress, trustOf } from './client-address.js';

const request = (remoteAddress: string, forwarded: string) =>
  ({
    socket: { remoteAddress },
    headers: { 'x-forwarded-for': forwarded },
  }) as unknown as IncomingMessage;

describe('the address of a client', () => {
  it.each([
    [false, '10.0.0.1', '1.2.3.4', '10.0.0.1'],
    [true, '10.0.0.1', '6.6.6.6, 1.2.3.4', '1.2.3.4'],
    [true, '10.0.0.1', '', '10.0.0.1'],
    ['10.0.0.0/8', '10.0.0.1', '6.6.6.6, 1.2.3.4, 10.0.0.2', '1.2.3.4'],
    ['10.0.0.0/8', '11.0.0.1', '1.2.3.4', '11.0.0.1'],
    ['10.0.0.0/8, fd00::/8', '::ffff:10.0.0.1', '2001:db8::1', '2001:db8::1'],
    ['fd00::1', 'fd00::1', 'nonsense', 'nonsense'],
  ])('with trust in %s, of %s forwarded for %s, is %s', (trust, peer, forwarded, address) => {
    expect(clientAddress(request(peer, forwarded), trustOf(trust))).toBe(address);
  });

  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8::6', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['', ''],
    ['nonsense', 'nonsense'],
  ])('counts %j in the block %j', (address, block) => {
    expect(addressBlock(address)).toBe(block);
  });
});
