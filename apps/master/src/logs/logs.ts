import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import { FarmError, invariant } from '@impgem/kit';
import type { StreamName } from '@impgem/protocol';
import { BlobStore, Database, MasterConfig } from '../platform/index.js';
import { inflate, type StoredChunk } from './chunk.js';
import { readRows, rowOfLine, rowTails, type LogRef } from './log-rows.js';
import { inFile, inMemory, SealedLog, type ChunkPage, type PageSize } from './sealed-log.js';

const PAGE: PageSize = { chunks: 128, bytes: 1024 * 1024 };
const NEWLINE = 0x0a;

/** How much of a log is here. `complete`: nothing will be added any more. */
export interface LogState {
  bytes: number;
  /** Newlines. */
  lines: number;
  complete: boolean;
  /** Retention has removed its bytes. */
  removed: boolean;
  /** Of each stream, once the worker has said that it ended. */
  sha256: Partial<Record<StreamName, string>> | null;
}

/**
 * Reads logs, wherever they are: in rows as they come in, sealed once their build is over. Rows go away only
 * after the log was sealed; so what is not found in rows any more is found sealed, also in the middle of reading.
 */
@Injectable()
export class Logs {
  readonly #blobs: BlobStore;

  constructor(
    private readonly db: Database,
    config: MasterConfig,
  ) {
    this.#blobs = new BlobStore(join(config.dataDir, 'blobs'));
  }

  /** Throws `not-found` when the build has no such step, or its log was removed. */
  async state(log: LogRef): Promise<LogState> {
    const [state] = await this.states([log]);
    if (!state)
      throw new FarmError('not-found', `build ${log.build} has no step with index ${log.step}`);
    if (state.removed)
      throw new FarmError(
        'not-found',
        `the log of build ${log.build}, step ${log.step}, was removed: it was older than its builder keeps logs`,
      );
    return state;
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
  ): Promise<ChunkPage[]> {
    const pages = await readRows(this.db, logs, size);
    const missing = logs.filter((_, n) => pages[n] === undefined);
    const rows = await this.#sealedRows(missing);
    return Promise.all(
      logs.map(async (log, n) => {
        const row = rows.get(keyOf(log));
        const page = pages[n] ?? (row && (await this.#use(row, (s) => s.page(log.offset, size))));
        return page ?? { chunks: [], more: false };
      }),
    );
  }

  /** The chunks that hold the bytes `from` to `to` (exclusive), a page of them in memory at a time. */
  async *chunks(log: LogRef, from: number, to: number): AsyncGenerator<StoredChunk> {
    let sealed = await this.sealed(log);
    try {
      for (let offset = from; offset < to;) {
        const page = sealed
          ? await sealed.page(offset, PAGE)
          : (await readRows(this.db, [{ ...log, offset }], PAGE))[0];
        if (!page && !sealed) {
          sealed = await this.sealed(log);
          if (sealed) continue;
        }
        if (!page || page.chunks.length === 0) throw gone(log, offset);
        for (const chunk of page.chunks) {
          if (chunk.offset >= to) return;
          yield chunk;
          offset = chunk.offset + chunk.length;
        }
      }
    } finally {
      await sealed?.close();
    }
  }

  /** The last bytes of each stream before `offset`, three at least where there are as many. */
  async tails(log: LogRef, offset: number): Promise<Map<StreamName, Buffer>> {
    const [row] = (await this.#sealedRows([log])).values();
    if (row) return this.#use(row, (sealed) => sealed.tails(offset));
    const tails = await rowTails(this.db, log, offset);
    if (tails.size > 0 || offset === 0) return tails;
    const [now] = (await this.#sealedRows([log])).values();
    return now ? this.#use(now, (sealed) => sealed.tails(offset)) : tails;
  }

  /**
   * Where line `line` (from 0) begins, in bytes; the end of the log when it has not so many lines. Lines end with a
   * newline, whatever stream it came on.
   */
  async lineStart(log: LogRef, { bytes, lines }: LogState, line: number): Promise<number> {
    if (line <= 0) return 0;
    if (line > lines) return bytes;
    const chunk = await this.#chunkOfLine(log, line, bytes);
    if (!chunk) throw gone(log, 0);
    const content = inflate(chunk);
    let at = -1;
    for (let seen = chunk.line; seen < line; seen++) {
      at = content.indexOf(NEWLINE, at + 1);
      invariant(at >= 0, 'a chunk has as many newlines as those after it say');
    }
    return chunk.offset + at + 1;
  }

  /** Lines that have begun: with a last one that has no newline. */
  async lineCount(log: LogRef, { bytes, lines }: LogState): Promise<number> {
    if (bytes === 0) return 0;
    const [page] = await this.read([{ ...log, offset: bytes - 1 }], { chunks: 1, bytes: 1 });
    const last = page?.chunks[0];
    if (!last) throw gone(log, bytes - 1);
    return inflate(last)[bytes - 1 - last.offset] === NEWLINE ? lines : lines + 1;
  }

  /** The log as it was sealed, if it was; to be closed. */
  async sealed(log: LogRef): Promise<SealedLog | undefined> {
    const [row] = (await this.#sealedRows([log])).values();
    return row && this.#open(row);
  }

  async #chunkOfLine(log: LogRef, line: number, bytes: number): Promise<StoredChunk | undefined> {
    const find = async () => {
      const [row] = (await this.#sealedRows([log])).values();
      return row && this.#use(row, (sealed) => sealed.chunkOfLine(line));
    };
    return (await find()) ?? (await rowOfLine(this.db, log, line, bytes)) ?? (await find());
  }

  async #sealedRows(logs: readonly LogRef[]): Promise<Map<string, SealedRow>> {
    if (logs.length === 0) return new Map();
    const rows = await this.db.query<SealedRow>(SEALED, [
      logs.map((log) => log.build),
      logs.map((log) => log.step),
    ]);
    return new Map(rows.map((row) => [keyOf(row), row]));
  }

  async #open({ build, step, blob, data }: SealedRow): Promise<SealedLog> {
    if (data) return SealedLog.open(inMemory(data));
    if (blob === null) throw gone({ build, step }, 0);
    const file = this.#blobs.path(blob);
    return SealedLog.open(
      await inFile(file).catch((cause: unknown) => {
        const where = `the log of build ${build}, step ${step}, should lie in ${file}`;
        throw new Error(where, { cause });
      }),
    );
  }

  async #use<T>(row: SealedRow, run: (sealed: SealedLog) => Promise<T>): Promise<T> {
    const sealed = await this.#open(row);
    return run(sealed).finally(() => sealed.close());
  }
}

interface SealedRow extends LogRef {
  blob: string | null;
  data: Buffer | null;
}

const keyOf = ({ build, step }: LogRef) => `${build}:${step}`;

/** It was there a moment ago: retention was here meanwhile. */
function gone({ build, step }: LogRef, offset: number): FarmError {
  return new FarmError(
    'not-found',
    `the log of build ${build}, step ${step}, is not there any more from byte ${offset} on`,
  );
}

const ASKED = `unnest($1::bigint[], $2::int[])`;

// A build that is over has no step that still writes, whatever its worker managed to say.
const STATES = `
  SELECT s.build_id AS build, s.index AS step, s.log_bytes AS bytes, s.log_lines AS lines,
         s.log_sha256 AS sha256, s.log_finished OR b.state = 'finished' AS complete,
         EXISTS (SELECT 1 FROM sealed_logs l WHERE l.build_id = s.build_id AND l.step = s.index
                 AND l.blob IS NULL AND l.data IS NULL) AS removed
  FROM ${ASKED} AS asked(build_id, step)
  JOIN steps s ON s.build_id = asked.build_id AND s.index = asked.step
  JOIN builds b ON b.id = s.build_id`;

const SEALED = `
  SELECT l.build_id AS build, l.step, l.blob, l.data
  FROM ${ASKED} AS asked(build_id, step)
  JOIN sealed_logs l ON l.build_id = asked.build_id AND l.step = asked.step`;
