import type { StreamName } from '@impgem/protocol';
import { gzipStream } from './gzip-stream.js';
import { inflate, type LogRef, type Logs } from './logs.js';

/** The bytes `from` to `to` (exclusive) of a log, of all streams or of one. */
export async function* plainLog(
  logs: Logs,
  log: LogRef,
  { from, to, stream }: { from: number; to: number; stream?: StreamName | undefined },
): AsyncGenerator<Uint8Array> {
  for await (const chunk of logs.chunks(log, from, to)) {
    if (stream !== undefined && chunk.stream !== stream) continue;
    yield inflate(chunk).subarray(Math.max(0, from - chunk.offset), to - chunk.offset);
  }
}

/** The first `bytes` of a log, gzipped. `bytes` is where a chunk ends. */
export function gzippedLog(logs: Logs, log: LogRef, bytes: number): AsyncGenerator<Uint8Array> {
  return gzipStream(logs.chunks(log, 0, bytes));
}
