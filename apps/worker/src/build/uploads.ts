import { deferred, FarmError, type Deferred } from '@impgem/kit';
import type {
  ArtifactAnswer,
  ArtifactDone,
  ArtifactOffer,
  Limits,
  PackedFile,
} from '@impgem/protocol';
import { HEADER_BYTES, writeHeader } from '@impgem/protocol';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import type { Attempt } from '../executor/executor.js';

/** Bytes of a block, at most: small, so that logs get their turn between two. */
const BLOCK_BYTES = 256 * 1024;

/** What an open connection gives to uploads. */
export interface ArtifactLink {
  readonly limits: Limits;
  /** Aborted when the connection is gone. */
  readonly gone: AbortSignal;
  send(message: ArtifactOffer | ArtifactDone): void;
  /** Sends an artifact frame. Settles when the socket has room for the next one; what is more urgent goes first. */
  block(frame: Uint8Array): Promise<void>;
}

export interface ArtifactFile {
  path: string;
  size: number;
  mode: number;
  /** It is a pack of these; path and mode are those of the first. */
  files?: PackedFile[];
  /** From the first byte, each time. */
  open(): Promise<Readable>;
}

/** The master does not take it. */
export class MasterRefusal extends FarmError {}

/** The connection went away in the middle: try again on the next. */
class Gone extends Error {}

/** One offer on one connection. */
class Talk {
  readonly accepted = deferred<number>();
  readonly stored = deferred();
  private acked = 0;
  private moved: Deferred<void> | undefined;

  constructor() {
    // Both may be rejected while nobody awaits them.
    this.accepted.promise.catch(() => {});
    this.stored.promise.catch(() => {});
  }

  answer(message: ArtifactAnswer): void {
    switch (message.type) {
      case 'artifact.accept':
        this.acked = message.offset;
        return this.accepted.resolve(message.offset);
      case 'artifact.ack':
        this.acked = Math.max(this.acked, message.offset);
        return this.moved?.resolve();
      case 'artifact.stored':
        return this.stored.resolve();
      case 'artifact.refused':
        return this.fail(new MasterRefusal(message.reason.code, message.reason.message));
    }
  }

  fail(error: unknown): void {
    this.accepted.reject(error);
    this.stored.reject(error);
    this.moved?.reject(error);
  }

  /** Settles when all up to `offset` is acknowledged. */
  async reached(offset: number): Promise<void> {
    while (this.acked < offset) {
      this.moved = deferred();
      // A refusal may have come before anybody waited here.
      await Promise.race([this.moved.promise, this.stored.promise]);
    }
  }
}

/**
 * Sends artifacts, of all builds, over whatever connection there is. A file that was cut goes on, on the next
 * connection, from where the master says.
 */
export class Uploads {
  private link: ArtifactLink | undefined;
  private next = deferred<ArtifactLink>();
  private readonly talks = new Map<string, Talk>();

  get isOnline(): boolean {
    return this.link !== undefined;
  }

  online(link: ArtifactLink): void {
    this.link = link;
    this.next.resolve(link);
  }

  offline(): void {
    if (!this.link) return;
    this.link = undefined;
    this.next = deferred();
    for (const talk of this.talks.values()) talk.fail(new Gone());
  }

  answer(message: ArtifactAnswer): void {
    this.talks.get(key(message, message.artifact))?.answer(message);
  }

  /** What the master takes, once there is one. Rejects with the signal's reason. */
  async limits(signal: AbortSignal): Promise<Limits> {
    signal.throwIfAborted();
    return (this.link ?? (await unlessAborted(this.next.promise, signal))).limits;
  }

  /**
   * Settles when the master has the file for good. Rejects with the master's reason when it does not take it, with
   * the error of reading, or with the signal's reason.
   */
  async send(
    attempt: Attempt,
    artifact: number,
    file: ArtifactFile,
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      const link = this.link ?? (await unlessAborted(this.next.promise, signal));
      try {
        return await this.attempt(link, attempt, artifact, file, signal);
      } catch (error) {
        if (!(error instanceof Gone) && !link.gone.aborted) throw error;
      }
    }
  }

  private async attempt(
    link: ArtifactLink,
    attempt: Attempt,
    artifact: number,
    file: ArtifactFile,
    signal: AbortSignal,
  ): Promise<void> {
    const talk = new Talk();
    const abort = (): void => talk.fail(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.talks.set(key(attempt, artifact), talk);
    const { path, size, mode, files } = file;
    const ref = { build: attempt.build, epoch: attempt.epoch, artifact };
    try {
      const pack = files ? { files } : {};
      link.send({ type: 'artifact.offer', ...ref, path, size, mode, ...pack });
      const offset = await talk.accepted.promise;
      const sha256 = await this.blocks(link, talk, ref, file, offset);
      link.send({ type: 'artifact.done', ...ref, size, sha256 });
      await talk.stored.promise;
    } finally {
      signal.removeEventListener('abort', abort);
      this.talks.delete(key(attempt, artifact));
    }
  }

  /** Sends the bytes from `from` on; gives the SHA-256 of all. */
  private async blocks(
    link: ArtifactLink,
    talk: Talk,
    ref: Attempt & { artifact: number },
    file: ArtifactFile,
    from: number,
  ): Promise<string> {
    const hash = createHash('sha256');
    const { frameBytes, artifactWindowBytes: window } = link.limits;
    const most = Math.min(BLOCK_BYTES, frameBytes - HEADER_BYTES, window);
    const bytes = await file.open();
    let at = 0;
    try {
      for await (const block of blocksOf(bytes, file.size, most)) {
        const length = block.length - HEADER_BYTES;
        hash.update(block.subarray(HEADER_BYTES));
        const known = Math.max(0, from - at);
        if (known < length) {
          const frame = block.subarray(known);
          writeHeader(frame, { kind: 'artifact', ...ref, offset: at + known });
          await talk.reached(at + length - window);
          await link.block(frame);
        }
        at += length;
        if (at > file.size) break;
      }
    } finally {
      bytes.destroy();
    }
    if (at === file.size) return hash.digest('hex');
    throw new FarmError('artifact-refused', 'it changed while it was read');
  }
}

/** A file in blocks of `most` bytes, the last one shorter; before each lies the room of a frame's header. */
async function* blocksOf(
  pieces: AsyncIterable<Uint8Array>,
  size: number,
  most: number,
): AsyncGenerator<Uint8Array> {
  let left = size;
  let block = room();
  let end = HEADER_BYTES;
  for await (const piece of pieces)
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + block.length - end);
      block.set(part, end);
      end += part.length;
      at += part.length;
      if (end < block.length) continue;
      left -= end - HEADER_BYTES;
      yield block;
      block = room();
      end = HEADER_BYTES;
    }
  if (end > HEADER_BYTES) yield block.subarray(0, end);

  // A file that grew has at least one byte more.
  function room(): Uint8Array {
    return Buffer.allocUnsafe(HEADER_BYTES + Math.min(most, Math.max(1, left)));
  }
}

const key = ({ build, epoch }: Attempt, artifact: number): string =>
  `${build}-${epoch}-${artifact}`;

async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const done = new AbortController();
  try {
    const aborted = once(signal, 'abort', { signal: done.signal }).then(() =>
      Promise.reject(signal.reason as Error),
    );
    aborted.catch(() => {});
    return await Promise.race([promise, aborted]);
  } finally {
    done.abort();
  }
}
