import { constants, inflateRawSync } from 'node:zlib';
import { Injectable } from '@nestjs/common';
import { FarmError, invariant } from '@impgem/kit';
import { STREAMS, type StreamName } from '@impgem/protocol';
import { Database } from '../platform/index.js';

/** What is read at once: a log may have big chunks or many small ones. */
export interface PageSize {
  chunks: number;
  /** Before compression; the chunk that goes beyond is still read. */
  bytes: number;
}
const PAGE: PageSize = { chunks: 128, bytes: 1024 * 1024 };

export interface LogRef {
  build: number;
  step: number;
}

/** How much of a log is here. `complete`: nothing will be added any more. */
export interface LogState {
  bytes: number;
  complete: boolean;
}

/** A chunk as it is stored. */
export interface StoredChunk {
  stream: StreamName;
  /** Where it begins in its log, all streams together. */
  offset: number;
  /** Bytes before compression. */
  length: number;
  crc32: number;
  at: Date;
  /** Raw deflate that ends with a full flush. */
  data: Buffer;
}

export interface LogPage extends LogRef {
  chunks: StoredChunk[];
  /** There may be more to read now. */
  more: boolean;
}

/** Reads logs as they are stored: in chunks, each a row, contiguous by byte offset within the log of a step. */
@Injectable()
export class Logs {
  constructor(private readonly db: Database) {}

  /** Throws `not-found` when the build has no such step. */
  async state(log: LogRef): Promise<LogState> {
    const [state] = await this.states([log]);
    if (!state)
      throw new FarmError('not-found', `build ${log.build} has no step with index ${log.step}`);
    return { bytes: state.bytes, complete: state.complete };
  }

  /** The same for several; those that do not exist are left out. */
  async states(logs: readonly LogRef[]): Promise<(LogRef & LogState)[]> {
    return this.db.query<LogRef & LogState>(STATES, [
      logs.map((log) => log.build),
      logs.map((log) => log.step),
    ]);
  }

  /**
   * For each log the chunks that hold the byte at `offset` and what follows, in order, up to a page of each. The
   * first one may begin below `offset`.
   */
  async read(
    logs: readonly (LogRef & { offset: number })[],
    size: PageSize = PAGE,
  ): Promise<LogPage[]> {
    const rows = await this.db.query<ChunkRow>(CHUNKS, [
      logs.map((log) => log.build),
      logs.map((log) => log.step),
      logs.map((log) => log.offset),
      size.chunks,
      size.bytes,
    ]);
    const pages = logs.map(({ build, step }): LogPage => ({
      build,
      step,
      chunks: [],
      more: false,
    }));
    for (const row of rows) {
      const page = pages[row.n - 1];
      page?.chunks.push(toChunk(row));
      if (page) page.more = row.found > page.chunks.length || row.found === size.chunks;
    }
    return pages;
  }

  /** The chunks that hold the bytes `from` to `to` (exclusive), a page of rows in memory at a time. */
  async *chunks(log: LogRef, from: number, to: number): AsyncGenerator<StoredChunk> {
    for (let offset = from; offset < to;) {
      const [page] = await this.read([{ ...log, offset }]);
      if (!page || page.chunks.length === 0) return;
      for (const chunk of page.chunks) {
        if (chunk.offset >= to) return;
        yield chunk;
        offset = chunk.offset + chunk.length;
      }
    }
  }

  /** The last bytes of each stream before `offset`, three at least where there are as many. */
  async tails(log: LogRef, offset: number): Promise<Map<StreamName, Buffer>> {
    const rows = await this.db.query<ChunkRow>(TAILS, [log.build, log.step, offset]);
    const tails = new Map<StreamName, Buffer>();
    for (const chunk of rows.map(toChunk)) {
      const bytes = inflate(chunk).subarray(0, Math.max(0, offset - chunk.offset));
      tails.set(chunk.stream, Buffer.concat([tails.get(chunk.stream) ?? Buffer.alloc(0), bytes]));
    }
    return tails;
  }
}

/** The bytes of a chunk. */
export function inflate(chunk: Pick<StoredChunk, 'data' | 'length'>): Buffer {
  // The chunk has no final block: it ends with a flush.
  const bytes = inflateRawSync(chunk.data, {
    finishFlush: constants.Z_SYNC_FLUSH,
    maxOutputLength: Math.max(1, chunk.length),
  });
  invariant(bytes.length === chunk.length, 'a stored chunk inflates to the length it claims');
  return bytes;
}

interface ChunkRow {
  /** Which of the logs asked for, from 1. */
  n: number;
  /** How many chunks there were to choose from. */
  found: number;
  stream: number;
  byte_offset: number;
  length: number;
  crc32: number;
  at: Date;
  data: Buffer;
}

function toChunk(row: ChunkRow): StoredChunk {
  const stream = STREAMS[row.stream];
  invariant(stream, 'a stored chunk is of a known stream');
  return {
    stream,
    offset: row.byte_offset,
    length: row.length,
    crc32: row.crc32,
    at: row.at,
    data: row.data,
  };
}

const ASKED = `unnest($1::bigint[], $2::int[])`;
const COLUMNS = `c.stream, c.byte_offset, c.length, c.crc32, c.at, c.data`;

// A build that is over has no step that still writes, whatever its worker managed to say.
const STATES = `
  SELECT s.build_id AS build, s.index AS step, s.log_bytes AS bytes,
         s.log_finished OR b.state = 'finished' AS complete
  FROM ${ASKED} AS asked(build_id, step)
  JOIN steps s ON s.build_id = asked.build_id AND s.index = asked.step
  JOIN builds b ON b.id = s.build_id`;

// The chunk that holds the offset is the last one that begins at or below it: one probe of the primary key.
const CHUNKS = `
  SELECT asked.n::int AS n, c.found, ${COLUMNS}
  FROM unnest($1::bigint[], $2::int[], $3::bigint[]) WITH ORDINALITY AS asked(build_id, step, from_byte, n)
  CROSS JOIN LATERAL (
    SELECT c.*, count(*) OVER ()::int AS found,
           sum(c.length) OVER (ORDER BY c.byte_offset) - c.length AS bytes_before
    FROM (
      SELECT ${COLUMNS} FROM log_chunks c
      WHERE c.build_id = asked.build_id AND c.step = asked.step
        AND c.byte_offset >= coalesce(
          (SELECT max(f.byte_offset) FROM log_chunks f
           WHERE f.build_id = asked.build_id AND f.step = asked.step AND f.byte_offset <= asked.from_byte), 0)
        AND c.byte_offset + c.length > asked.from_byte
      ORDER BY c.byte_offset LIMIT $4) c) c
  WHERE c.bytes_before < $5::bigint
  ORDER BY asked.n, c.byte_offset`;

const TAILS = `
  SELECT 1 AS n, 0 AS found, ${COLUMNS} FROM generate_series(0, 2) AS streams(stream)
  CROSS JOIN LATERAL (
    SELECT ${COLUMNS} FROM log_chunks c
    WHERE c.build_id = $1::bigint AND c.step = $2::int AND c.stream = streams.stream
      AND c.byte_offset < $3::bigint
    ORDER BY c.byte_offset DESC LIMIT 3) c
  ORDER BY c.byte_offset`;
