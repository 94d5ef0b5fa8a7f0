import { expect, it } from '@jest/globals';
import { workerCodec } from '@impgem/protocol';
import { sendable } from './vitals.js';

it('sends what it sees of odd disks in a heartbeat that the wire takes', () => {
  const vitals = {
    diskFree: 2 ** 64,
    inodesFree: -1,
    lowDisk: `/${'x😀\uD800'.repeat(1000)} is low`,
  };
  const text = workerCodec.stringify({ type: 'heartbeat', running: 0, ...sendable(vitals) });
  expect(workerCodec.parse(text)).toMatchObject({
    diskFree: Number.MAX_SAFE_INTEGER,
    inodesFree: 0,
    lowDisk: expect.stringMatching(/^\/x😀\uFFFDx/u),
  });
  const plain = { diskFree: 1, lowDisk: '/ is low' };
  expect(sendable(plain)).toEqual(plain);
});
