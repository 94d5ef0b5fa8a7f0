import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { FILE_LIMITS } from '@impgem/pipeline';
import { UsageError } from './exit-codes.js';

/** The text of a file, or of standard input for `-`. Rejects with `UsageError` when it cannot be read. */
export async function readInput(name: string): Promise<string> {
  try {
    const read = name === '-' ? await text(process.stdin) : await readFile(name, 'utf8');
    // The reader says so itself; no need to send more than it takes.
    return read.slice(0, FILE_LIMITS.size + 1);
  } catch (error) {
    throw new UsageError(`${name} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
