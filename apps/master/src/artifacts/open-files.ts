import { open, type FileHandle } from 'node:fs/promises';

/** Files that are held open at most; the one that rested longest is closed for the next. */
const MOST_OPEN = 64;

interface Opened {
  handle: Promise<FileHandle>;
  users: number;
}

/** Writes into files that exist, and holds the recent ones open: opening costs more than a block does. */
export class OpenFiles {
  readonly #files = new Map<string, Opened>();

  /** Resolves when all bytes are with the operating system. */
  async write(file: string, bytes: Uint8Array, position: number): Promise<void> {
    const opened = this.#files.get(file) ?? { handle: open(file, 'r+'), users: 0 };
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
    } catch (error) {
      await this.close(file);
      throw error;
    } finally {
      opened.users -= 1;
    }
    await this.#closeRested();
  }

  /** Nobody may write into it meanwhile. */
  async close(file: string): Promise<void> {
    const opened = this.#files.get(file);
    this.#files.delete(file);
    const handle = await opened?.handle.catch(() => undefined);
    await handle?.close();
  }

  async #closeRested(): Promise<void> {
    for (const [file, { users }] of this.#files) {
      if (this.#files.size <= MOST_OPEN) return;
      if (users === 0) await this.close(file);
    }
  }
}
