import { invariant } from '@impgem/kit';
import { STREAMS, type StreamName } from '@impgem/protocol';
import type { Tx } from '../platform/index.js';
import { inflate, type StoredChunk } from './chunk.js';
import type { ChunkPage, PageSize } from './sealed-log.js';

export interface LogRef {
  build: number;
  step: number;
}

/**
 * Log chunks as the journal wrote them, each a row, contiguous by byte offset within the log of a step.
 *
 * What a log is, for all who read, seal or remove rows: the rows of a step that hold bytes. One without is nothing: no
 * master takes it now, and one that an earlier master took holds up neither sealing nor the removal of its partition.
 */
export const HOLDS_BYTES = 'c.length > 0';

/**
 * For each log the chunks that hold the byte at `offset` and what follows, in order, up to a page of each. The
 * first one may begin below `offset`. Absent: there are bytes, but not in rows any more.
 */
export async function readRows(
  db: Tx,
  logs: readonly (LogRef & { offset: number })[],
  size: PageSize,
): Promise<(ChunkPage | undefined)[]> {
  const rows = await db.query<PageRow>(CHUNKS, [
    logs.map((log) => log.build),
    logs.map((log) => log.step),
    logs.map((log) => log.offset),
    size.chunks,
    size.bytes,
  ]);
  const pages = logs.map((): ChunkPage | undefined => undefined);
  for (const row of rows) {
    const page = (pages[row.n - 1] ??= { chunks: [], more: false });
    page.chunks.push(toChunk(row));
    page.more = row.found > page.chunks.length || row.found === size.chunks;
  }
  return pages.map((page, n) => {
    const first = page?.chunks[0];
    // Partitions go away one after the other: what begins above was behind what is gone.
    return first && first.offset <= (logs[n]?.offset ?? 0) ? page : undefined;
  });
}

/** The chunk in which newline number `line` (from 1) stands, or the last one of the log's `bytes`. */
export async function rowOfLine(
  db: Tx,
  { build, step }: LogRef,
  line: number,
  bytes: number,
): Promise<StoredChunk | undefined> {
  const [row] = await db.query<ChunkRow>(LINE, [build, step, line, bytes]);
  return row && toChunk(row);
}

/** The last bytes of each stream before `offset`, three at least where there are as many. */
export async function rowTails(
  db: Tx,
  log: LogRef,
  offset: number,
): Promise<Map<StreamName, Buffer>> {
  const rows = await db.query<ChunkRow>(TAILS, [log.build, log.step, offset]);
  const tails = new Map<StreamName, Buffer>();
  for (const chunk of rows.map(toChunk)) {
    const bytes = inflate(chunk).subarray(0, Math.max(0, offset - chunk.offset));
    tails.set(chunk.stream, Buffer.concat([tails.get(chunk.stream) ?? Buffer.alloc(0), bytes]));
  }
  return tails;
}

export interface ChunkRow {
  stream: number;
  byte_offset: number;
  length: number;
  first_line: number;
  crc32: number;
  at: Date;
  data: Buffer;
}

interface PageRow extends ChunkRow {
  /** Which of the logs asked for, from 1. */
  n: number;
  /** How many chunks there were to choose from. */
  found: number;
}

export function toChunk(row: ChunkRow): StoredChunk {
  const stream = STREAMS[row.stream];
  invariant(stream, 'a stored chunk is of a known stream');
  return {
    stream,
    offset: row.byte_offset,
    length: row.length,
    line: row.first_line,
    crc32: row.crc32,
    at: row.at,
    data: row.data,
  };
}

export const CHUNK_COLUMNS = `c.stream, c.byte_offset, c.length, c.first_line, c.crc32, c.at, c.data`;

// What a chunk costs whoever holds it: the bytes that it stands for or those that are stored, whatever is more.
const COST = 'greatest(c.length, octet_length(c.data))';

// The chunk that holds the offset is the last one that begins at or below it: one probe of the primary key.
const CHUNKS = `
  SELECT asked.n::int AS n, c.found, ${CHUNK_COLUMNS}
  FROM unnest($1::bigint[], $2::int[], $3::bigint[]) WITH ORDINALITY AS asked(build_id, step, from_byte, n)
  CROSS JOIN LATERAL (
    SELECT c.*, count(*) OVER ()::int AS found,
           sum(${COST}) OVER (ORDER BY c.byte_offset) - ${COST} AS bytes_before
    FROM (
      SELECT ${CHUNK_COLUMNS} FROM log_chunks c
      WHERE c.build_id = asked.build_id AND c.step = asked.step
        AND c.byte_offset >= coalesce(
          (SELECT max(f.byte_offset) FROM log_chunks f
           WHERE f.build_id = asked.build_id AND f.step = asked.step AND f.byte_offset <= asked.from_byte
             AND f.length > 0), 0)
        AND c.byte_offset + c.length > asked.from_byte AND ${HOLDS_BYTES}
      ORDER BY c.byte_offset LIMIT $4) c) c
  WHERE c.bytes_before < $5::bigint
  ORDER BY asked.n, c.byte_offset`;

const TAILS = `
  SELECT ${CHUNK_COLUMNS} FROM generate_series(0, 2) AS streams(stream)
  CROSS JOIN LATERAL (
    SELECT ${CHUNK_COLUMNS} FROM log_chunks c
    WHERE c.build_id = $1::bigint AND c.step = $2::int AND c.stream = streams.stream
      AND c.byte_offset < $3::bigint AND ${HOLDS_BYTES}
    ORDER BY c.byte_offset DESC LIMIT 3) c
  ORDER BY c.byte_offset`;

// First lines grow with offsets, but only offsets have an index: the range of bytes is halved until one chunk is left.
const LINE = `
  WITH RECURSIVE search(low, high, best) AS (
    SELECT 0::bigint, $4::bigint, NULL::bigint
    UNION ALL
    SELECT CASE WHEN c.first_line < $3::bigint THEN c.byte_offset + c.length ELSE low END,
           CASE WHEN c.first_line < $3::bigint THEN high ELSE c.byte_offset END,
           CASE WHEN c.first_line < $3::bigint THEN c.byte_offset ELSE best END
    FROM search CROSS JOIN LATERAL (
      SELECT c.byte_offset, c.length, c.first_line FROM log_chunks c
      WHERE c.build_id = $1::bigint AND c.step = $2::int AND c.byte_offset <= (low + high) / 2
        AND ${HOLDS_BYTES}
      ORDER BY c.byte_offset DESC LIMIT 1) c
    WHERE low < high)
  SELECT ${CHUNK_COLUMNS} FROM search JOIN log_chunks c
    ON c.build_id = $1::bigint AND c.step = $2::int AND c.byte_offset = search.best AND ${HOLDS_BYTES}
  WHERE low >= high`;
