import { open, readdir, readFile, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { advance, decodeRecord, NOTHING, type Progress } from './record.js';

/** One file of a journal: a checkpoint, then records `first` … `last` (`last` = `first` − 1 while there is none). */
export interface Segment {
  path: string;
  first: number;
  last: number;
  /** Bytes that are with the operating system. */
  size: number;
  /** Of those, bytes that count against the quota: 0 once all is acknowledged. */
  held: number;
}

export const segmentPath = (folder: string, first: number): string =>
  join(folder, `${String(first).padStart(10, '0')}.seg`);

export interface Scan {
  segments: Segment[];
  progress: Progress;
  /** Bytes that were cut off since they were not whole. */
  cut: number;
}

/**
 * Reads all segments of a journal from the beginning, cuts off the torn tail, removes what lies behind it. After
 * that, every byte that is left is part of a sound record and the numbers have no gap.
 */
export async function scan(folder: string): Promise<Scan> {
  const names = (await readdir(folder)).filter((name) => /^\d{10}\.seg$/.test(name)).sort();
  const result: Scan = { segments: [], progress: NOTHING, cut: 0 };
  let torn = false;
  for (const name of names) {
    const path = join(folder, name);
    const bytes = await readFile(path);
    const before = result.segments.at(-1);
    const first = Number(name.slice(0, 10));
    const gap = before !== undefined && before.last + 1 !== first;
    const read = torn || gap ? undefined : walk(bytes, first, result.progress);
    if (!read) {
      torn = true;
      result.cut += bytes.length;
      await unlink(path);
      continue;
    }
    result.progress = read.progress;
    result.segments.push({ path, first, last: read.last, size: read.size, held: read.size });
    if (read.size < bytes.length) {
      torn = true;
      result.cut += bytes.length - read.size;
      await truncate(path, read.size);
    }
  }
  return result;
}

/** How far the bytes of a segment are sound; undefined when not even its checkpoint is. */
function walk(bytes: Buffer, first: number, before: Progress) {
  const head = decodeRecord(bytes, 0);
  if (head?.kind !== 'checkpoint' || head.seq !== first - 1) return undefined;
  let progress = advance(before, head);
  let size = head.size;
  let last = first - 1;
  for (;;) {
    const record = decodeRecord(bytes, size);
    if (!record || record.kind === 'checkpoint' || record.seq !== last + 1) break;
    progress = advance(progress, record);
    size += record.size;
    last = record.seq;
  }
  return { progress, size, last };
}

/** Exactly `length` bytes of a file from `at` on; throws when the file is shorter. */
export async function readExactly(path: string, at: number, length: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(length);
    let have = 0;
    while (have < length) {
      const { bytesRead } = await file.read(bytes, have, length - have, at + have);
      if (bytesRead === 0) throw new Error(`${path} ends at byte ${at + have}`);
      have += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}
