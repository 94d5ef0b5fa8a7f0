import type { StreamName } from '@impgem/protocol';
import { inflate } from './chunk.js';
import { gzipStream } from './gzip-stream.js';
import type { LogRef } from './log-rows.js';
import type { Logs } from './logs.js';

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
export async function* gzippedLog(
  logs: Logs,
  log: LogRef,
  bytes: number,
): AsyncGenerator<Uint8Array> {
  const sealed = await logs.sealed(log);
  try {
    // It may have grown, and been sealed, since somebody looked how long it is.
    if (sealed?.bytes === bytes) yield* sealed.gzipped();
    else yield* gzipStream(logs.chunks(log, 0, bytes));
  } finally {
    await sealed?.close();
  }
}
