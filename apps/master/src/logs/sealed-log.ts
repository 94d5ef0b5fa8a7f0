import { open, type FileHandle } from 'node:fs/promises';
import { STREAMS, type StreamName } from '@impgem/protocol';
import { inflate, type StoredChunk } from './chunk.js';
import {
  ENTRY,
  FOOTER,
  readEntry,
  readFooter,
  type Footer,
  type IndexEntry,
} from './sealed-format.js';

/** Of the index read at once: few reads to find a place, and bounded memory for any log. */
const BLOCK = 512;
const PIECE_BYTES = 256 * 1024;
/** Enough of a stream's end to hold any unfinished character. */
const TAIL_BYTES = 3;

/** What a sealed log is read from: a file, or a row's bytes. */
export interface SealedBytes {
  readonly size: number;
  /** Exactly these bytes; rejects when there are fewer. */
  read(position: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** How much is read at once: a log may have big chunks or many small ones. */
export interface PageSize {
  chunks: number;
  /** Before compression, or as stored where that is more; the chunk that goes beyond is still read. */
  bytes: number;
}

export interface ChunkPage {
  chunks: StoredChunk[];
  /** There may be more to read now. */
  more: boolean;
}

/** Reads a sealed log, wherever its bytes lie. Whoever opened it closes it. */
export class SealedLog {
  private constructor(
    private readonly source: SealedBytes,
    private readonly footer: Footer,
  ) {}

  static async open(source: SealedBytes): Promise<SealedLog> {
    try {
      const at = Math.max(0, source.size - FOOTER);
      const footer = readFooter(await source.read(at, source.size - at));
      return new SealedLog(source, footer);
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.source.close();
  }

  /** Of the log. */
  get bytes(): number {
    return this.footer.bytes;
  }

  /** The whole log as one gzip stream. */
  async *gzipped(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.footer.gzip; at += PIECE_BYTES)
      yield this.source.read(at, Math.min(PIECE_BYTES, this.footer.gzip - at));
  }

  /** The chunks that hold the byte at `offset` and what follows, in order, up to a page of them. */
  async page(offset: number, size: PageSize): Promise<ChunkPage> {
    const first = await this.#last((entry) => entry.offset <= offset);
    const { entries, end, more } = await this.#entries(first, size.chunks);
    // Of the first it counts what is asked for, as with rows.
    const from = entries[0]?.offset ?? 0;
    const begin = entries[0]?.position ?? 0;
    let count = entries.findIndex(
      ({ offset: at, position }) => Math.max(at - from, position - begin) >= size.bytes,
    );
    if (count < 0) count = entries.length;
    const stop = entries[count]?.position ?? end;
    const data = await this.source.read(begin, stop - begin);
    const chunks = entries.slice(0, count).map((entry, n): StoredChunk => {
      const next = entries[n + 1]?.position ?? end;
      const { position, ...info } = entry;
      return { ...info, data: data.subarray(position - begin, next - begin) };
    });
    const last = chunks.at(-1);
    const past = last === undefined || last.offset + last.length <= offset;
    return { chunks: past ? [] : chunks, more: !past && (more || count < entries.length) };
  }

  /** The chunk in which newline number `line` (from 1) stands, or the last one. */
  async chunkOfLine(line: number): Promise<StoredChunk | undefined> {
    const at = await this.#last((entry) => entry.line < line);
    return this.#chunk(at);
  }

  /** The last bytes of each stream before `offset`, three at least where there are as many. */
  async tails(offset: number): Promise<Map<StreamName, Buffer>> {
    const tails = new Map<StreamName, Buffer>();
    const lacks = (stream: StreamName) => (tails.get(stream)?.length ?? 0) < TAIL_BYTES;
    let at = offset > 0 ? await this.#last((entry) => entry.offset < offset) : -1;
    while (at >= 0 && STREAMS.some(lacks)) {
      const begin = Math.max(0, at + 1 - BLOCK);
      const { entries } = await this.#entries(begin, at + 1 - begin);
      for (const [n, entry] of [...entries.entries()].toReversed()) {
        if (!lacks(entry.stream)) continue;
        const chunk = await this.#chunk(begin + n);
        const bytes = chunk ? inflate(chunk).subarray(0, offset - entry.offset) : Buffer.alloc(0);
        tails.set(entry.stream, Buffer.concat([bytes, tails.get(entry.stream) ?? Buffer.alloc(0)]));
      }
      at = begin - 1;
    }
    return tails;
  }

  async #chunk(index: number): Promise<StoredChunk | undefined> {
    const { entries, end } = await this.#entries(index, 1);
    const [entry] = entries;
    if (!entry) return undefined;
    const { position, ...info } = entry;
    return { ...info, data: await this.source.read(position, end - position) };
  }

  /** Up to `count` entries; `end` is where the data of the last of them ends. */
  async #entries(
    first: number,
    count: number,
  ): Promise<{ entries: IndexEntry[]; end: number; more: boolean }> {
    const { entries: total, gzip } = this.footer;
    const taken = Math.max(0, Math.min(count, total - first));
    // The data of an entry ends where that of the next one begins.
    const read = Math.min(taken + 1, total - first);
    const block = await this.source.read(gzip + first * ENTRY, Math.max(0, read) * ENTRY);
    const entries = Array.from({ length: taken }, (_, n) => readEntry(block, n));
    const more = read > taken;
    const end = more ? readEntry(block, taken).position : gzip - TRAILER;
    return { entries, end, more };
  }

  /** The last entry for which `test` holds, as it does for a first part of them; 0 when for none. */
  async #last(test: (entry: IndexEntry) => boolean): Promise<number> {
    let low = 0;
    let high = this.footer.entries;
    while (high - low > BLOCK) {
      const middle = Math.floor((low + high) / 2);
      const { entries } = await this.#entries(middle, 1);
      if (entries[0] && test(entries[0])) low = middle;
      else high = middle;
    }
    const { entries } = await this.#entries(low, high - low);
    const past = entries.findIndex((entry) => !test(entry));
    return low + Math.max(0, (past < 0 ? entries.length : past) - 1);
  }
}

/** Final block, CRC-32 and length. */
const TRAILER = 10;

/** A sealed log in a row. */
export function inMemory(data: Buffer): SealedBytes {
  return {
    size: data.length,
    async read(position, length) {
      if (position + length > data.length) throw new Error('a sealed log is cut off');
      return data.subarray(position, position + length);
    },
    async close() {},
  };
}

/** A sealed log in a file. Rejects when that is not there. */
export async function inFile(path: string): Promise<SealedBytes> {
  const handle: FileHandle = await open(path, 'r');
  const { size } = await handle.stat();
  return {
    size,
    async read(position, length) {
      const bytes = Buffer.allocUnsafe(length);
      for (let got = 0; got < length;) {
        const { bytesRead } = await handle.read(bytes, got, length - got, position + got);
        if (bytesRead === 0) throw new Error(`${path} is cut off`);
        got += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}
