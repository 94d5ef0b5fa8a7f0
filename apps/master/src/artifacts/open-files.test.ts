import { describe, expect, it } from '@jest/globals';
import { OpenFiles } from './open-files.js';

/** It takes what is written and cannot be synced. */
const UNSYNCABLE = '/dev/null';
/** So much that it is synced on the way. */
const MUCH = Buffer.alloc(33 * 1024 * 1024);

describe('OpenFiles', () => {
  it('tells whoever closes a file that the disk has not taken it', async () => {
    const files = new OpenFiles();
    await files.write(UNSYNCABLE, MUCH, 0);
    await expect(files.close(UNSYNCABLE)).rejects.toThrow('EINVAL');
    // Told once; what is written anew is another matter.
    await files.write(UNSYNCABLE, MUCH.subarray(0, 1), 0);
    await files.close(UNSYNCABLE);
  });

  it('does not tell who drops it', async () => {
    const files = new OpenFiles();
    await files.write(UNSYNCABLE, MUCH, 0);
    await files.drop(UNSYNCABLE);
  });
});
