import { PACK_BYTES, PACK_FILES, type PackedFile } from '@impgem/protocol';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ReadFile, WorkspaceFile } from '../executor/executor.js';
import type { ArtifactFile } from './uploads.js';

/** Bytes of the names in a pack's offer, which is one frame. */
const NAMES_BYTES = 512 * 1024;

/** An artifact, with its number in the build. */
export interface NumberedFile extends WorkspaceFile {
  number: number;
}

export interface Pack {
  files: PackedFile[];
  /** What is sent for all of them. */
  whole: ArtifactFile & { files: PackedFile[] };
  /** The same for each, for when the pack is not taken. */
  each(): { number: number; file: ArtifactFile }[];
}

/**
 * Small files put together, as they are read; one that cannot be read is told and left out. One pack is held at a
 * time, besides those that were given out.
 */
export async function* packsOf(
  files: readonly NumberedFile[],
  reads: AsyncIterable<ReadFile>,
  failed: (path: string, error: unknown) => void,
): AsyncGenerator<Pack> {
  const numbers = new Map(files.map(({ path, number }) => [path, number]));
  let packed: PackedFile[] = [];
  let parts: Buffer[] = [];
  let bytes = 0;
  let names = 0;
  for await (const read of reads) {
    const { path, mode } = read.file;
    if ('error' in read) {
      failed(path, read.error);
      continue;
    }
    const size = read.bytes.length;
    const name = Buffer.byteLength(JSON.stringify(path));
    const full = packed.length === PACK_FILES || bytes + size > PACK_BYTES;
    if (packed.length > 0 && (full || names + name > NAMES_BYTES)) {
      yield packOf(packed, parts);
      packed = [];
      parts = [];
      bytes = names = 0;
    }
    const sha256 = createHash('sha256').update(read.bytes).digest('hex');
    packed.push({ artifact: numbers.get(path) ?? 0, path, size, mode: mode % 0o1000, sha256 });
    parts.push(read.bytes);
    bytes += size;
    names += name;
  }
  if (packed.length > 0) yield packOf(packed, parts);
}

function packOf(files: PackedFile[], parts: readonly Buffer[]): Pack {
  const [first] = files;
  const content = Buffer.concat(parts);
  const open = (from: number, size: number) => async () =>
    Readable.from(size > 0 ? [content.subarray(from, from + size)] : []);
  const { path = '', mode = 0 } = first ?? {};
  const size = content.length;
  return {
    files,
    whole: { path, size, mode, files, open: open(0, size) },
    each() {
      let at = 0;
      return files.map((file) => {
        const from = at;
        at += file.size;
        const { path: name, size: length, mode: bits } = file;
        const alone = { path: name, size: length, mode: bits, open: open(from, length) };
        return { number: file.artifact, file: alone };
      });
    },
  };
}
