/**
 * The bytes of a sealed log (docs/adr/0010-sealed-logs.md): a whole gzip stream of the chunks as they were stored,
 * then an index with one entry of fixed width for each chunk, then a footer that says where things lie. All
 * numbers are little-endian.
 *
 *     gzip     header, chunks, empty final block, CRC-32, length
 *     index    entries × ENTRY bytes
 *     footer   FOOTER bytes, at the very end
 */
import { invariant } from '@impgem/kit';
import { STREAMS } from '@impgem/protocol';
import type { ChunkInfo, StoredChunk } from './chunk.js';
import { GZIP_HEADER, GzipSum } from './gzip-stream.js';

/** offset 8, first line 8, position 8, time 6, stream 1, unused 1, length 4, CRC-32 4. */
export const ENTRY = 40;
/** magic 8, version 4, entry width 4, entries 8, bytes 8, lines 8, where the index begins 8, unused 16. */
export const FOOTER = 64;
const MAGIC = 'impgemLG';
const VERSION = 1;

/** What an index says of a chunk. */
export interface IndexEntry extends ChunkInfo {
  /** Where its stored bytes begin in the file. */
  position: number;
}

export interface Footer {
  entries: number;
  /** Of the log. */
  bytes: number;
  /** Newlines in the log. */
  lines: number;
  /** Where the gzip stream ends and the index begins. */
  gzip: number;
}

/** Makes the parts of a sealed log, chunk by chunk; whoever writes puts them one behind the other. */
export class SealedParts {
  readonly header = GZIP_HEADER;
  readonly #sum = new GzipSum();
  #position = GZIP_HEADER.length;
  #entries = 0;

  /** Bytes of the log so far. */
  get bytes(): number {
    return this.#sum.length;
  }

  /** Bytes of the whole when it ended here. */
  get size(): number {
    return this.#position + this.#sum.trailer().length + this.#entries * ENTRY + FOOTER;
  }

  /** The index entry of a chunk, whose data comes next. It must begin where the one before ended. */
  add(chunk: StoredChunk): Buffer {
    invariant(chunk.offset === this.bytes, 'chunks of a log are contiguous');
    const entry = Buffer.alloc(ENTRY);
    putNumber(entry, chunk.offset, 0);
    putNumber(entry, chunk.line, 8);
    putNumber(entry, this.#position, 16);
    entry.writeUIntLE(chunk.at.getTime(), 24, 6);
    entry.writeUInt8(STREAMS.indexOf(chunk.stream), 30);
    entry.writeUInt32LE(chunk.length, 32);
    entry.writeUInt32LE(chunk.crc32, 36);
    this.#sum.add(chunk);
    this.#position += chunk.data.length;
    this.#entries += 1;
    return entry;
  }

  /** What follows the last chunk, and what follows the index. */
  end(lines: number): { trailer: Buffer; footer: Buffer } {
    const trailer = this.#sum.trailer();
    const footer = Buffer.alloc(FOOTER);
    footer.write(MAGIC, 0, 'latin1');
    footer.writeUInt32LE(VERSION, 8);
    footer.writeUInt32LE(ENTRY, 12);
    putNumber(footer, this.#entries, 16);
    putNumber(footer, this.bytes, 24);
    putNumber(footer, lines, 32);
    putNumber(footer, this.#position + trailer.length, 40);
    return { trailer, footer };
  }
}

/** Throws when these bytes are no footer of ours. */
export function readFooter(footer: Buffer): Footer {
  const magic = footer.length === FOOTER ? footer.toString('latin1', 0, 8) : '';
  if (magic !== MAGIC) throw new Error('this is no sealed log, or it is cut off');
  const version = footer.readUInt32LE(8);
  if (version !== VERSION || footer.readUInt32LE(12) !== ENTRY)
    throw new Error(`the log was sealed by another master, in format ${version}`);
  return {
    entries: getNumber(footer, 16),
    bytes: getNumber(footer, 24),
    lines: getNumber(footer, 32),
    gzip: getNumber(footer, 40),
  };
}

/** Of a block of index entries. */
export function readEntry(block: Buffer, index: number): IndexEntry {
  const at = index * ENTRY;
  const stream = STREAMS[block.readUInt8(at + 30)];
  invariant(stream, 'a sealed chunk is of a known stream');
  return {
    offset: getNumber(block, at),
    line: getNumber(block, at + 8),
    position: getNumber(block, at + 16),
    at: new Date(block.readUIntLE(at + 24, 6)),
    stream,
    length: block.readUInt32LE(at + 32),
    crc32: block.readUInt32LE(at + 36),
  };
}

/** Eight bytes, for whole numbers up to 2^53. */
function putNumber(into: Buffer, value: number, at: number): void {
  into.writeUInt32LE(value % 2 ** 32, at);
  into.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function getNumber(from: Buffer, at: number): number {
  return from.readUInt32LE(at + 4) * 2 ** 32 + from.readUInt32LE(at);
}
