/** A thread that searches what it is sent; started and ended by `search.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import { inflate } from './chunk.js';
import { LineMatcher, type LineMatch, type SearchChunk, type SearchQuery } from './line-matcher.js';

/** What the thread is started with. */
export interface SearchTask {
  query: SearchQuery;
  /** Matches that are wanted. */
  limit: number;
  /** The line that is looked at, for whoever has to end the thread. */
  line: Float64Array;
}

/** Stored chunks, their bytes one behind the other. */
export interface SearchBatch {
  chunks: (Omit<SearchChunk, 'bytes'> & { length: number; size: number })[];
  data: Uint8Array;
  /** What lies below is not searched; a line begins here. */
  from: number;
  /** Up to where the log is searched with these, also where it is another stream's. */
  end: number;
  last: boolean;
}

export interface SearchAnswer {
  matches: LineMatch[];
  /** Where to go on. */
  resume: number;
}

/** What the thread says: once that it has begun, then an answer to each batch. */
export type SearchMessage = 'begun' | SearchAnswer;

const NEWLINE = 0x0a;
const { query, limit, line } = workerData as SearchTask;
const matcher = new LineMatcher(query, (number) => (line[0] = number));
let wanted = limit;

parentPort?.on('message', ({ chunks, data, from, end, last }: SearchBatch) => {
  let at = 0;
  const inflated = chunks.map(({ size, ...chunk }): SearchChunk => {
    const stored = Buffer.from(data.buffer, at, size);
    at += size;
    return behind(from, { ...chunk, bytes: inflate({ data: stored, length: chunk.length }) });
  });
  const matches = matcher.feed(inflated, last, wanted);
  wanted -= matches.length;
  const resume = matcher.idle ? end : matcher.resume;
  say({ matches, resume });
});
say('begun');

function say(message: SearchMessage): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
  parentPort?.postMessage(message);
}

/** The chunk from a byte of the log on. */
function behind(from: number, chunk: SearchChunk): SearchChunk {
  const skipped = chunk.bytes.subarray(0, Math.max(0, from - chunk.offset));
  if (skipped.length === 0) return chunk;
  let { line } = chunk;
  for (const byte of skipped) if (byte === NEWLINE) line += 1;
  const offset = chunk.offset + skipped.length;
  return { ...chunk, offset, line, bytes: chunk.bytes.subarray(skipped.length) };
}
