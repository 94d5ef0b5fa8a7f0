import type { StreamName } from '@impgem/protocol';
import { inflate } from './chunk.js';
import { gzipStream } from './gzip-stream.js';
import type { LogRef } from './log-rows.js';
import type { Logs } from './logs.js';

/** Some bytes of a log, `from` to `to` (exclusive), of all streams or of one. */
export interface LogPart {
  from: number;
  to: number;
  stream?: StreamName | undefined;
}

const NEWLINE = 0x0a;

async function* piecesOf(
  logs: Logs,
  log: LogRef,
  { from, to, stream }: LogPart,
): AsyncGenerator<{ bytes: Buffer; at: Date }> {
  for await (const chunk of logs.chunks(log, from, to)) {
    if (stream !== undefined && chunk.stream !== stream) continue;
    const bytes = inflate(chunk).subarray(Math.max(0, from - chunk.offset), to - chunk.offset);
    yield { bytes, at: chunk.at };
  }
}

export async function* plainLog(
  logs: Logs,
  log: LogRef,
  part: LogPart,
): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of piecesOf(logs, log, part)) yield bytes;
}

/** The same with the time before each line at which it began; a part begins at the beginning of a line. */
export async function* timedLog(
  logs: Logs,
  log: LogRef,
  part: LogPart,
): AsyncGenerator<Uint8Array> {
  let begins = true;
  for await (const { bytes, at } of piecesOf(logs, log, part)) {
    const stamp = Buffer.from(`${at.toISOString()} `);
    const parts: Uint8Array[] = [];
    for (let from = 0; from < bytes.length;) {
      const newline = bytes.indexOf(NEWLINE, from);
      const end = newline < 0 ? bytes.length : newline + 1;
      if (begins) parts.push(stamp);
      parts.push(bytes.subarray(from, end));
      begins = newline >= 0;
      from = end;
    }
    yield Buffer.concat(parts);
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
