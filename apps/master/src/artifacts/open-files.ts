import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

/** Files that are held open at most; the one that rested longest is closed for the next. */
const MOST_OPEN = 64;
/** Bytes of a file after which the disk is set to work on them, so that little is left to wait for at its end. */
const SYNC_BYTES = 32 * 1024 * 1024;

interface Opened {
  handle: Promise<FileHandle>;
  users: number;
  /** Bytes that the disk was not asked for yet. */
  unsynced: number;
  /** The disk did not take what was written. The system tells it once. */
  failure?: unknown;
}

/** Writes into files, which it makes when they are not there, and holds the recent ones open: opening costs more than a block does. */
export class OpenFiles {
  readonly #files = new Map<string, Opened>();
  /** One at a time, since each takes a thread away from everything else. */
  #syncing = false;

  /** Resolves when all bytes are with the operating system. */
  async write(file: string, bytes: Uint8Array, position: number): Promise<void> {
    const opened = this.#files.get(file) ?? {
      handle: open(file, constants.O_RDWR + constants.O_CREAT, 0o600),
      users: 0,
      unsynced: 0,
    };
    // Last in the order of use.
    this.#files.delete(file);
    this.#files.set(file, opened);
    opened.users += 1;
    try {
      const handle = await opened.handle;
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
        at += bytesWritten;
      }
      throwFailure(opened);
    } catch (error) {
      await this.drop(file);
      throw error;
    } finally {
      opened.users -= 1;
    }
    opened.unsynced += bytes.length;
    // It keeps its failure for the next that uses the file.
    if (opened.unsynced >= SYNC_BYTES && !this.#syncing)
      this.#sync(opened).catch((error: unknown) => (opened.failure = error));
    await this.#closeRested();
  }

  /**
   * Nobody may write into it meanwhile. Rejects when the disk has not taken what was written; that it has taken all is
   * for the caller to make sure of (`fsync`).
   */
  async close(file: string): Promise<void> {
    const opened = this.#files.get(file);
    await this.drop(file);
    if (opened) throwFailure(opened);
  }

  /** As `close`, for a file that nobody wants any more, or that is opened again later. */
  async drop(file: string): Promise<void> {
    const opened = this.#files.get(file);
    this.#files.delete(file);
    const handle = await opened?.handle.catch(() => undefined);
    // Waits for what is under way with it.
    await handle?.close();
  }

  async #sync(opened: Opened): Promise<void> {
    this.#syncing = true;
    opened.users += 1;
    opened.unsynced = 0;
    try {
      await (await opened.handle).datasync();
    } catch (error) {
      opened.failure = error;
    } finally {
      opened.users -= 1;
      this.#syncing = false;
    }
  }

  async #closeRested(): Promise<void> {
    for (const [file, { users, failure }] of this.#files) {
      if (this.#files.size <= MOST_OPEN) return;
      // Its own next write or close is to be told of the failure.
      if (users === 0 && failure === undefined) await this.drop(file);
    }
  }
}

function throwFailure({ failure }: Opened): void {
  if (failure !== undefined) throw failure as Error;
}
