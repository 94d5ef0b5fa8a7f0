import { FarmError } from '@impgem/kit';
import type { Readable } from 'node:stream';
import type { ReadFile, WorkspaceFile } from './executor.js';

/** Reads files one after the other, each by a call of its own. */
export async function* readOneByOne(
  files: Iterable<WorkspaceFile>,
  read: (path: string) => Promise<Readable>,
): AsyncGenerator<ReadFile> {
  for (const file of files) {
    try {
      yield { file, bytes: await bytesOf(file, await read(file.path)) };
    } catch (error) {
      yield { file, error };
    }
  }
}

/** All bytes of a file that was listed; no more than that are ever held. */
export async function bytesOf(
  file: WorkspaceFile,
  content: AsyncIterable<unknown>,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of content) {
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > file.size) break;
  }
  if (size === file.size) return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
  throw new FarmError('artifact-refused', 'it changed while it was read');
}
