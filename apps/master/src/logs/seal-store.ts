import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { BlobStore, keepBlobs, type Database } from '../platform/index.js';
import type { StoredChunk } from './chunk.js';
import {
  CHUNK_COLUMNS,
  HOLDS_BYTES,
  readRows,
  toChunk,
  type ChunkRow,
  type LogRef,
} from './log-rows.js';
import { ENTRY, FOOTER, SealedParts } from './sealed-format.js';

/**
 * A sealed log up to this size stands in its row: a file costs three syncs and an inode, which a farm with a
 * million small builds would pay a million times.
 */
export const ROW_BYTES = 32 * 1024;
/** Stored bytes of small logs that are put into rows at once. */
const GROUP_BYTES = 4 * 1024 * 1024;
const PAGE = { chunks: 128, bytes: 2 * 1024 * 1024 };
const COPY_BYTES = 1024 * 1024;
/** A half file that is older was left by a master that died. */
const ABANDONED_MS = 24 * 3600_000;

/** A log that will not grow, and how much of it there must be. */
export interface OpenLog extends LogRef {
  bytes: number;
  lines: number;
}

/** Puts logs where they stay. Doing it again, or two at once, comes out the same. */
export class SealStore {
  readonly #folder: string;
  readonly #blobs: BlobStore;

  constructor(
    private readonly db: Database,
    dataDir: string,
  ) {
    // On the file system of the blobs, since a file becomes one by its name alone.
    this.#folder = join(dataDir, 'sealing');
    this.#blobs = new BlobStore(join(dataDir, 'blobs'));
  }

  /** Removes half files that nobody goes on with. */
  async clear(): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    for (const name of await readdir(this.#folder)) {
      const file = join(this.#folder, name);
      const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > ABANDONED_MS) await rm(file, { force: true });
    }
  }

  /**
   * Those that fail are told one by one. `between` is called between large ones, which may take long. Rejects when
   * the database is away.
   */
  async seal(
    logs: readonly OpenLog[],
    failed: (build: number, error: unknown) => void,
    between: () => Promise<unknown>,
  ): Promise<{ rows: number; files: number }> {
    const counts = { rows: 0, files: 0 };
    const { small, large } = await this.#bySize(logs);
    for (const group of groups(small)) {
      const done = await this.#intoRows(group, failed);
      counts.rows += done;
    }
    for (const log of large) {
      await between();
      try {
        await this.#intoFile(log);
        counts.files += 1;
      } catch (error) {
        failed(log.build, error);
      }
    }
    return counts;
  }

  async #bySize(logs: readonly OpenLog[]): Promise<{ small: SizedLog[]; large: OpenLog[] }> {
    const rows = await this.db.query<{ n: number; chunks: number; stored: number }>(SIZES, [
      logs.map((log) => log.build),
      logs.map((log) => log.step),
    ]);
    const small: SizedLog[] = [];
    const large: OpenLog[] = [];
    for (const { n, chunks, stored } of rows) {
      const log = logs[n - 1];
      if (!log) continue;
      const size = stored + chunks * ENTRY + FOOTER + 20;
      if (size <= ROW_BYTES) small.push({ ...log, size });
      else large.push(log);
    }
    return { small, large };
  }

  async #intoRows(
    logs: readonly OpenLog[],
    failed: (build: number, error: unknown) => void,
  ): Promise<number> {
    const rows = await this.db.query<ChunkRow & { n: number }>(ALL_CHUNKS, [
      logs.map((log) => log.build),
      logs.map((log) => log.step),
    ]);
    const chunks = logs.map((): StoredChunk[] => []);
    for (const row of rows) chunks[row.n - 1]?.push(toChunk(row));
    const done: { build: number; step: number; start: number; size: number }[] = [];
    const parts: Uint8Array[] = [];
    let start = 0;
    for (const [n, log] of logs.entries())
      try {
        const bytes = sealInMemory(log, chunks[n] ?? []);
        parts.push(bytes);
        done.push({ build: log.build, step: log.step, start, size: bytes.length });
        start += bytes.length;
      } catch (error) {
        failed(log.build, error);
      }
    await this.db.query(INTO_ROWS, [JSON.stringify(done), Buffer.concat(parts)]);
    return done.length;
  }

  async #intoFile(log: OpenLog): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const file = join(this.#folder, `${log.build}-${log.step}-${randomUUID()}`);
    try {
      const { sha256, size } = await this.#write(log, file);
      await keepBlobs(this.db, this.#blobs, [{ file, sha256 }], (tx) =>
        tx.query(INTO_FILE, [log.build, log.step, sha256, size]),
      );
    } finally {
      await rm(file, { force: true });
      await rm(`${file}.index`, { force: true });
    }
  }

  /** Writes the file from its beginning to its end; the index lies in another one until all chunks are through. */
  async #write(log: OpenLog, file: string): Promise<{ sha256: string; size: number }> {
    const parts = new SealedParts();
    const hash = createHash('sha256');
    const out = await open(file, 'wx', 0o600);
    try {
      const index = await open(`${file}.index`, 'wx+', 0o600);
      try {
        const put = async (bytes: Uint8Array) => {
          hash.update(bytes);
          await writeAll(out, bytes);
        };
        await put(parts.header);
        for await (const chunks of this.#pages(log)) {
          await writeAll(index, Buffer.concat(chunks.map((chunk) => parts.add(chunk))));
          await put(Buffer.concat(chunks.map(({ data }) => data)));
        }
        check(log, parts);
        const { trailer, footer } = parts.end(log.lines);
        await put(trailer);
        for await (const block of contentOf(index)) await put(block);
        await put(footer);
      } finally {
        await index.close();
      }
    } finally {
      await out.close();
    }
    return { sha256: hash.digest('hex'), size: parts.size };
  }

  async *#pages(log: OpenLog): AsyncGenerator<StoredChunk[]> {
    for (let offset = 0; offset < log.bytes;) {
      const [page] = await readRows(this.db, [{ ...log, offset }], PAGE);
      const last = page?.chunks.at(-1);
      if (!page || !last) return;
      yield page.chunks;
      offset = last.offset + last.length;
    }
  }
}

interface SizedLog extends OpenLog {
  size: number;
}

function* groups(logs: readonly SizedLog[]): Generator<SizedLog[]> {
  let group: SizedLog[] = [];
  let bytes = 0;
  for (const log of logs) {
    if (group.length > 0 && bytes + log.size > GROUP_BYTES) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(log);
    bytes += log.size;
  }
  if (group.length > 0) yield group;
}

function sealInMemory(log: OpenLog, chunks: readonly StoredChunk[]): Buffer {
  const parts = new SealedParts();
  const index = chunks.map((chunk) => parts.add(chunk));
  check(log, parts);
  const { trailer, footer } = parts.end(log.lines);
  return Buffer.concat([
    parts.header,
    ...chunks.map(({ data }) => data),
    trailer,
    ...index,
    footer,
  ]);
}

function check({ build, step, bytes }: OpenLog, parts: SealedParts): void {
  if (parts.bytes !== bytes)
    throw new Error(
      `the log of build ${build}, step ${step}, has ${bytes} bytes, and chunks for ${parts.bytes}`,
    );
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;)
    at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
}

async function* contentOf(handle: FileHandle): AsyncGenerator<Buffer> {
  for (let at = 0; ;) {
    const block = Buffer.allocUnsafe(COPY_BYTES);
    const { bytesRead } = await handle.read(block, 0, COPY_BYTES, at);
    if (bytesRead === 0) return;
    yield block.subarray(0, bytesRead);
    at += bytesRead;
  }
}

const ASKED = `unnest($1::bigint[], $2::int[]) WITH ORDINALITY AS asked(build_id, step, n)`;
const CHUNKS_OF = `JOIN log_chunks c ON c.build_id = asked.build_id AND c.step = asked.step AND ${HOLDS_BYTES}`;

// The length of a value is known without reading it.
const SIZES = `
  SELECT asked.n::int AS n, count(c.build_id)::int AS chunks, coalesce(sum(octet_length(c.data)), 0)::int8 AS stored
  FROM ${ASKED} LEFT ${CHUNKS_OF} GROUP BY asked.n`;

const ALL_CHUNKS = `
  SELECT asked.n::int AS n, ${CHUNK_COLUMNS} FROM ${ASKED} ${CHUNKS_OF} ORDER BY asked.n, c.byte_offset`;

// The bytes of all logs come as one parameter, each is cut out of it.
const INTO_ROWS = `
  INSERT INTO sealed_logs (build_id, step, size, data)
  SELECT d.build, d.step, d.size, substring($2::bytea FROM d.start + 1 FOR d.size)
  FROM jsonb_to_recordset($1::jsonb) AS d(build bigint, step int, start int, size int)
  ON CONFLICT DO NOTHING`;

const INTO_FILE = `
  INSERT INTO sealed_logs (build_id, step, blob, size) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`;
