import { Injectable } from '@nestjs/common';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { RegExpSyntaxError, RegExpValidator } from '@eslint-community/regexpp';
import { deferred, FarmError, type Deferred } from '@impgem/kit';
import { STREAMS, type StreamName } from '@impgem/protocol';
import { Counter, Gauge } from 'prom-client';
import { threadFile } from '../platform/index.js';
import type { StoredChunk } from './chunk.js';
import { isUnicode, type LineMatch, type SearchQuery } from './line-matcher.js';
import type { LogRef } from './log-rows.js';
import { Logs } from './logs.js';
import type { SearchAnswer, SearchBatch, SearchMessage, SearchTask } from './search-thread.js';

export interface Search extends SearchQuery {
  /** Only what came on this stream. */
  stream?: StreamName | undefined;
  /** From this byte on, where a line begins. */
  from: number;
  /** Up to this byte: as much as there is. */
  to: number;
  /** Lines at most. */
  limit: number;
  /** Nobody waits for the answer any more. */
  signal: AbortSignal;
}

export interface Found {
  matches: LineMatch[];
  /** Where to go on; absent when all is searched. */
  next: number | undefined;
}

/** After so long a search answers with what it has, and where to go on. */
const BUDGET_MS = 2000;
/** A thread that has begun and is silent for so long hangs in an expression. */
const HANG_MS = 2000;
/** A thread that has not begun after so long: the machine has too much to do. */
const START_MS = 30_000;
/** Sent to a thread at once: as stored or before compression, whatever is more, and what each chunk costs besides. */
const BATCH_BYTES = 1024 * 1024;
const CHUNK_COST = 512;
/** Sent and not answered yet: the next one is read while one is searched. */
const AHEAD = 2;
/** Threads at once in a master: a processor is left for everything else. */
const THREADS = Math.max(1, Math.min(2, availableParallelism() - 1));
/** Searches that wait for a thread. */
const QUEUE = 16;

/** An expression that eats memory ends its thread, not the master. */
const MEMORY = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16 };

export const THREAD = threadFile('search-thread', import.meta.url);

/** Searches logs in threads, so that an expression that takes for ever costs its searcher and nobody else. */
@Injectable()
export class LogSearch {
  #running = 0;
  readonly #waiting: Deferred<void>[] = [];

  constructor(private readonly logs: Logs) {}

  /**
   * Throws `invalid-request` for an expression that is none, `search-too-slow` when one takes too long for a line,
   * `too-many-requests`.
   */
  async search(log: LogRef, search: Search): Promise<Found> {
    if (search.regex) checkExpression(search.text);
    await this.#turn();
    const begun = performance.now();
    try {
      const thread = new SearchThread(search);
      try {
        return await this.#feed(thread, log, search);
      } finally {
        await thread.end();
      }
    } finally {
      seconds.inc((performance.now() - begun) / 1000);
      this.#next();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running < THREADS) {
      running.set(++this.#running);
      return;
    }
    if (this.#waiting.length >= QUEUE)
      throw new FarmError('too-many-requests', 'too many searches are under way; try again later');
    const turn = deferred();
    this.#waiting.push(turn);
    await turn.promise;
  }

  /** Whoever waits gets the place of who is through. */
  #next(): void {
    const next = this.#waiting.shift();
    if (next) next.resolve();
    else running.set(--this.#running);
  }

  async #feed(thread: SearchThread, log: LogRef, search: Search): Promise<Found> {
    const { from, to, limit, stream, signal } = search;
    const until = performance.now() + BUDGET_MS;
    const matches: LineMatch[] = [];
    let resume = from;
    const take = async () => {
      const answer = await thread.answer();
      matches.push(...answer.matches);
      resume = answer.resume;
    };
    let through = from >= to;
    for await (const { chunks, end } of this.#batches(log, from, to)) {
      if (signal.aborted) break;
      const wanted = chunks.filter((chunk) => stream === undefined || chunk.stream === stream);
      through = end >= to;
      thread.send(wanted, { from, end, last: through });
      if (thread.pending >= AHEAD) await take();
      if (matches.length >= limit || performance.now() >= until) break;
    }
    while (thread.pending > 0) await take();
    const all = (through && matches.length < limit) || resume >= to;
    return { matches, next: all ? undefined : resume };
  }

  async *#batches(
    log: LogRef,
    from: number,
    to: number,
  ): AsyncGenerator<{ chunks: StoredChunk[]; end: number }> {
    let chunks: StoredChunk[] = [];
    let bytes = 0;
    for await (const chunk of this.logs.chunks(log, from, to)) {
      chunks.push(chunk);
      bytes += Math.max(chunk.length, chunk.data.length) + CHUNK_COST;
      const end = chunk.offset + chunk.length;
      if (bytes < BATCH_BYTES && end < to) continue;
      yield { chunks, end };
      chunks = [];
      bytes = 0;
    }
  }
}

/** One thread, for one search. What is sent is answered in order. */
export class SearchThread {
  readonly #thread: Worker;
  readonly #line = new Float64Array(new SharedArrayBuffer(8));
  readonly #answers: SearchAnswer[] = [];
  readonly #begun = deferred();
  #arrived = deferred();
  #failure: unknown;
  pending = 0;

  constructor({ text, regex, ignoreCase, limit }: SearchQuery & { limit: number }, file = THREAD) {
    const task: SearchTask = { query: { text, regex, ignoreCase }, limit, line: this.#line };
    this.#thread = new Worker(file, { workerData: task, resourceLimits: MEMORY });
    this.#thread.on('message', (message: SearchMessage) => {
      if (message === 'begun') return this.#begun.resolve();
      this.#answers.push(message);
      this.#arrived.resolve();
    });
    this.#thread.on('error', (error) => {
      this.#failure = error;
      this.#begun.resolve();
      this.#arrived.resolve();
    });
  }

  send(chunks: readonly StoredChunk[], rest: Omit<SearchBatch, 'chunks' | 'data'>): void {
    const size = chunks.reduce((sum, { data }) => sum + data.length, 0);
    const data = new Uint8Array(size);
    let at = 0;
    const infos = chunks.map(({ data: bytes, stream, offset, length, line, at: when }) => {
      data.set(bytes, at);
      at += bytes.length;
      const place = { offset, length, line, size: bytes.length };
      return { ...place, stream: STREAMS.indexOf(stream), atMs: when.getTime() };
    });
    this.pending += 1;
    const batch: SearchBatch = { chunks: infos, data, ...rest };
    this.#thread.postMessage(batch, [data.buffer]);
  }

  /** The answer to the first of what is pending. */
  async answer(): Promise<SearchAnswer> {
    // Two waits: how long a thread takes to begin says nothing of the expression.
    if (!(await within(START_MS, this.#begun.promise)))
      throw new FarmError('too-many-requests', 'the search could not begin; try again later');
    if (this.#answers.length === 0 && this.#failure === undefined)
      await within(HANG_MS, this.#arrived.promise);
    if (this.#failure !== undefined) throw this.#failure;
    const answer = this.#answers.shift();
    if (!answer)
      throw new FarmError(
        'search-too-slow',
        `the expression takes too long in line ${this.#line[0]}: make it simpler, or search for a text`,
      );
    this.pending -= 1;
    if (this.#answers.length === 0) this.#arrived = deferred();
    return answer;
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}

/** Whether the promise is settled before so long. */
async function within(ms: number, promise: Promise<void>): Promise<boolean> {
  const over = new AbortController();
  const late = sleep(ms, false, { signal: over.signal }).catch(() => false);
  const inTime = await Promise.race([promise.then(() => true), late]);
  over.abort();
  return inTime;
}

/** Says where an expression is wrong, which the engine does not. */
function checkExpression(pattern: string): void {
  try {
    new RegExpValidator({ ecmaVersion: 2024 }).validatePattern(
      pattern,
      0,
      pattern.length,
      isUnicode(pattern),
    );
  } catch (error) {
    if (!(error instanceof RegExpSyntaxError)) throw error;
    const what = error.message.replace(/^Invalid regular expression: \/.*\/\w*: /s, '');
    throw new FarmError('invalid-request', `q: ${what} at character ${error.index + 1}`, {
      problems: [{ path: 'q', message: what, column: error.index + 1 }],
    });
  }
}

const running = new Gauge({
  name: 'impgem_log_searches',
  help: `Searches of logs that run now, each in a thread; at most ${THREADS}`,
});
const seconds = new Counter({
  name: 'impgem_log_search_seconds_total',
  help: 'How long searches of logs took, all together',
});
