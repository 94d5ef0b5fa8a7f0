import { describe, expect, it } from '@jest/globals';
import { blocksOf, METADATA, missingBlocks, readBlock } from './blocks.js';
import { hostBlocks, readHostFacts, readProbe } from './host-facts.js';
import { checkImage, parsePolicy, Policy } from './policy.js';
import { parseSubnet } from './subnets.js';

describe('what steps cannot reach', () => {
  it.each([
    ['10.1.2.3/8', 4, '10.0.0.0/8'],
    ['168.63.129.16', 4, '168.63.129.16'],
    ['168.63.129.16/32', 4, '168.63.129.16'],
    ['FD00:EC2:0:0::254', 6, 'fd00:ec2::254'],
    ['fd00:ec2:1::1/32', 6, 'fd00:ec2::/32'],
    ['fd00:ffff::/20', 6, 'fd00:f000::/20'],
    ['::/0', 6, 'default'],
    ['0.0.0.0/0', 4, 'default'],
  ])('reads %s as the kernel prints it', (text, family, to) => {
    expect(readBlock(text)).toEqual({ family, kind: 'blackhole', to });
  });

  it.each([
    '',
    'x',
    '10.0.0.0/33',
    '10.0.0/8',
    '1.2.3.4/8/8',
    'fd00::/129',
    '::ffff:10.0.0.1',
    'fe80::1%eth0',
    '1.2.3.4/-1',
  ])('refuses %j, in the policy file too', (text) => {
    expect(readBlock(text)).toBeUndefined();
    expect(() => parsePolicy(`blocked: [${JSON.stringify(text)}]`, 'p.yml')).toThrow(
      /blocked: .*10\.0\.0\.0\/8/,
    );
  });

  it('holds the addresses of all clouds unless the policy says otherwise, IPv6 too', () => {
    const to = blocksOf(new Policy().blocked).map((block) => block.to);
    expect(to).toHaveLength(METADATA.length);
    for (const one of [
      '169.254.0.0/16',
      '168.63.129.16',
      '100.100.100.200',
      'fd00:ec2::/32',
      'fd20:ce::254',
    ])
      expect(to).toContain(one);
    const more = blocksOf(parsePolicy('blocked: [metadata, 10.9.0.0/16]', 'p.yml').blocked);
    expect(more).toHaveLength(METADATA.length + 1);
  });

  it('counts what the report of a network does not show', () => {
    const blocks = blocksOf(['169.254.0.0/16', 'fd00:ec2::/32']);
    const four = 'block blackhole 169.254.0.0/16';
    expect(missingBlocks(blocks, `${four}\nblock blackhole fd00:ec2::/32\n`)).toEqual([]);
    expect(missingBlocks(blocks, `${four}\n`)).toEqual(['fd00:ec2::/32']);
    expect(missingBlocks(blocks, `${four}\nblock no ipv6\n`)).toEqual([]);
    expect(missingBlocks(blocks, 'block no ipv6\nblock blackhole 169.254.0.0/1')).toEqual([
      '169.254.0.0/16',
    ]);
    // What a step wrote into a file of the report does not count: that is in base64.
    expect(missingBlocks(blocks, ` ${four}\nblock no ipv6`)).toEqual(['169.254.0.0/16']);
  });

  it("holds the machine's own addresses, but for a name server that steps ask there", () => {
    const facts = readHostFacts(
      [
        'Iface\tDestination',
        '---',
        '1: lo    inet 127.0.0.1/8 scope host lo',
        '4: eth0    inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0',
        '5: docker0    inet 172.17.0.1/16 scope global docker0',
        '9: br-1    inet 10.213.0.17/28 scope global br-1',
        '---',
        'nameserver 172.17.0.1',
        'nameserver 10.1.1.1',
        '',
      ].join('\n'),
    );
    const order = {
      facts,
      range: parseSubnet('10.213.0.0/16'),
      gateway: '10.213.4.1',
      resolvers: [],
    };
    const to = (more: object): string[] => hostBlocks({ ...order, ...more }).map((one) => one.to);
    expect(to({})).toEqual(['10.213.0.0/16', '10.213.4.1', '192.0.2.2']);
    expect(to({ resolvers: ['192.0.2.2'] })).toEqual(['10.213.0.0/16', '10.213.4.1', '172.17.0.1']);
    expect(readProbe('reached 10.0.0.1:5432\nreached 10.0.0.1:2375\n')).toEqual([
      '10.0.0.1:2375',
      '10.0.0.1:5432',
    ]);
  });
});

describe("the farm's own images", () => {
  it.each([
    'impgem.invalid/holder',
    'impgem.invalid/holder:amd64-x',
    'IMPGEM.invalid/holder',
    'impgem.invalid:443/any/thing@sha256:0',
    'registry.impgem.invalid/x',
    'impgem/holder',
    'impgem/holder:amd64-7ecc0709e34a3b84',
    'docker.io/impgem/holder:x',
    'index.docker.io/impgem/holder',
  ])('are refused for steps: %s', (image) => {
    expect(() => checkImage(new Policy(), image)).toThrow(/the farm's own/);
    expect(() => checkImage(parsePolicy('images: ["*"]', 'p.yml'), image)).toThrow(/farm's own/);
  });

  it.each([
    'busybox:1.37',
    'ghcr.io/impgem/holder',
    'impgem/holder-tools',
    'impgem.invalid.example.org/x',
  ])('are no others: %s', (image) => expect(() => checkImage(new Policy(), image)).not.toThrow());
});
