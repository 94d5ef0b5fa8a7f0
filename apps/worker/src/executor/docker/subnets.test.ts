import { describe, expect, it } from '@jest/globals';
import { freeSubnet, overlap, parseSubnet, printSubnet, readRoutes } from './subnets.js';

describe('subnets', () => {
  it('reads and prints, the host bits cut off', () => {
    expect(printSubnet(parseSubnet('10.213.7.9/16'))).toBe('10.213.0.0/16');
    expect(printSubnet(parseSubnet('255.255.255.255/32'))).toBe('255.255.255.255/32');
  });

  it.each(['10.0.0.0', '10.0.0.256/8', '10.0.0.0/33', 'x', '::1/64'])('refuses %j', (text) => {
    expect(() => parseSubnet(text)).toThrow(/no IPv4 network/);
  });

  it('sees overlaps both ways round', () => {
    const wide = parseSubnet('10.0.0.0/8');
    const inner = parseSubnet('10.1.2.0/28');
    expect(overlap(wide, inner) && overlap(inner, wide)).toBe(true);
    expect(overlap(inner, parseSubnet('10.1.2.16/28'))).toBe(false);
  });

  it("reads the kernel's routes without the default route", () => {
    const text = [
      'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
      'eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0',
      'docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
      '',
    ].join('\n');
    expect(readRoutes(text).map(printSubnet)).toEqual(['172.17.0.0/16']);
  });

  it('finds the next free network, wraps around, and says when none is left', () => {
    const range = parseSubnet('10.9.0.0/27');
    const [low, high] = [parseSubnet('10.9.0.0/28'), parseSubnet('10.9.0.16/28')];
    expect(freeSubnet(range, [], 1)).toEqual(high);
    expect(freeSubnet(range, [high], 1)).toEqual(low);
    expect(() => freeSubnet(range, [parseSubnet('10.0.0.0/8')], 0)).toThrow(
      /IMPGEM_NETWORKS_RANGE/,
    );
  });
});
