import { closeSync, readSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { SocketConstructorOpts, TcpSocketConnectOpts } from 'node:net';

/** A pipe holds 64 KiB unless who writes to it asked for more. */
const PIECE = 64 * 1024;
/** A pipe of a user without rights cannot hold more (`/proc/sys/fs/pipe-max-size`). */
const MOST = 1024 * 1024;

/** What is read into: a piece is written out before the next is read, whosever it is. */
const room = Buffer.allocUnsafeSlow(PIECE);

/**
 * Copies what comes out of a pipe to the end of a file, piece by piece: what was written to the file nobody who holds
 * the pipe can change. What the file does not take ends the copy with `onFailure`, and what comes then is dropped.
 * Owns both descriptors.
 */
export class OutputCopy {
  readonly #socket: Socket;
  #file: number | undefined;
  #closed = false;
  /** Bytes that the file has taken. */
  wrote = 0;

  constructor(
    private readonly pipe: number,
    file: number,
    private readonly onFailure: (error: NodeJS.ErrnoException) => void,
    /** Nobody holds the pipe any more. */
    onClose: (copy: OutputCopy) => void,
  ) {
    this.#file = file;
    const callback = (length: number): boolean => {
      this.#write(length);
      return true;
    };
    // `onread` is known to `net.connect` alone by its types; the class takes it, too.
    const options = { fd: pipe, writable: false, onread: { buffer: room, callback } };
    this.#socket = new Socket(
      options satisfies SocketConstructorOpts & Pick<TcpSocketConnectOpts, 'onread'>,
    );
    // From here on the descriptor is about to be closed.
    this.#socket.once('end', () => (this.#closed = true));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.once('close', () => {
      this.#closed = true;
      this.#closeFile();
      onClose(this);
    });
  }

  /** Reads no more for now: who writes waits as soon as the pipe is full. */
  hold(): void {
    if (!this.#closed && this.#file !== undefined) this.#socket.pause();
  }

  release(): void {
    if (!this.#closed) this.#socket.resume();
  }

  /**
   * The step has ended: what it wrote is in the file when this returns. What children of it write later, if it left
   * any, goes nowhere, and they are not kept waiting for it.
   */
  end(): void {
    for (let left = MOST; left > 0 && !this.#closed && this.#file !== undefined;) {
      let length: number;
      try {
        length = readSync(this.pipe, room, 0, PIECE, null);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.#fail(error as Error);
        break;
      }
      if (length === 0) break;
      this.#write(length);
      left -= length;
    }
    this.#closeFile();
    this.release();
  }

  /** Nobody reads the pipe any more. */
  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #write(length: number): void {
    if (this.#file === undefined) return;
    try {
      for (let at = 0; at < length;) {
        const taken = writeSync(this.#file, room, at, length - at);
        at += taken;
        this.wrote += taken;
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#file === undefined) return;
    this.#closeFile();
    this.onFailure(error);
  }

  #closeFile(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
