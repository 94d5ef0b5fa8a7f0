import { deferred, FarmError, type Deferred } from '@impgem/kit';
import type {
  ArtifactAnswer,
  ArtifactDone,
  ArtifactFrame,
  ArtifactOffer,
  Limits,
  PackedFile,
} from '@impgem/protocol';
import { HEADER_BYTES } from '@impgem/protocol';
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
  /** Settles when the socket has room for the next one; what is more urgent goes first. */
  block(frame: ArtifactFrame): Promise<void>;
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
        return this.fail(new FarmError(message.reason.code, message.reason.message));
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
    const most = Math.min(BLOCK_BYTES, link.limits.frameBytes - HEADER_BYTES);
    const bytes = await file.open();
    let at = 0;
    try {
      for await (const piece of joined(bytes, most)) {
        hash.update(piece);
        for (let start = Math.max(0, from - at); start < piece.length; start += most) {
          const payload = piece.subarray(start, start + most);
          const offset = at + start;
          await talk.reached(offset + payload.length - link.limits.artifactWindowBytes);
          await link.block({ kind: 'artifact', ...ref, offset, payload });
        }
        at += piece.length;
        if (at > file.size) break;
      }
    } finally {
      bytes.destroy();
    }
    if (at === file.size) return hash.digest('hex');
    throw new FarmError('artifact-refused', `${file.path} changed while it was read`);
  }
}

/** Pieces put together to `size` bytes each, but for the last; a longer one is passed on as it is. */
async function* joined(
  pieces: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const piece of pieces) {
    if (length > 0 && length + piece.length > size) {
      yield parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts, length);
      parts = [];
      length = 0;
    }
    parts.push(piece);
    length += piece.length;
  }
  if (length > 0) yield Buffer.concat(parts, length);
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
