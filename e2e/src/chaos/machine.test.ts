import { describe, expect, it } from '@jest/globals';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../program.js';

const { rootMounts } = (await import(pathToFileURL(join(ROOT, 'tools/machine.mjs')).href)) as {
  rootMounts(mountinfo: string): string;
};

describe('what is told of a process by its mounts', () => {
  const engine = '/tmp/impgem-chaos-x/engine/docker';
  const ours = `99 144 0:71 / ${engine}/overlay2/ab/merged rw - overlay overlay rw,upperdir=${engine}/ab`;

  it('is whose container it lives in', () => {
    const root = `228 145 0:71 / / rw master:7 - overlay overlay rw,upperdir=${engine}/overlay2/ab/diff`;
    expect(rootMounts(`${root}\n229 228 0:5 / /proc rw - proc proc rw\n`)).toBe(root);
  });

  it('is nothing of a neighbour whose table of mounts is a copy of ours', () => {
    const root = '154 144 254:0 / / rw,relatime - ext4 /dev/vda rw,discard';
    expect(rootMounts(`${root}\n${ours}\n`)).toBe(root);
  });
});
