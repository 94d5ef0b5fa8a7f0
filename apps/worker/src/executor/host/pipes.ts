import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startOf } from './process-id.js';

/** Both ends of a pipe, as descriptors of this process that its children do not get. */
export interface Pipe {
  reader: number;
  writer: number;
}

/** Made by one call; a step takes two. */
const BATCH = 16;
/** With fewer left, more are made before a step waits for them. */
const FEW = 4;
const PATH = '/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin';
const NAME = /^\.pipe-(\d+)-\d+$/;

/**
 * Pipes that a process can open again by `/dev/stdout`, `/dev/stderr` or `/proc/self/fd`. Node's own `pipe` is a pair
 * of sockets, which nobody can open again, and Node has no call that makes a pipe: these are FIFOs, whose names go as
 * soon as both ends are open. Everyone may write to them, so that a command under `sudo -u` may, too; to come by one a
 * process must have been given it.
 */
export class Pipes {
  readonly #ready: Pipe[] = [];
  #making: Promise<void> | undefined;
  #made = 0;

  /** `folder` is absolute, and holds the names for as long as it takes to open them. */
  constructor(private readonly folder: string) {
    for (const name of readdirSync(folder)) {
      const pid = NAME.exec(name)?.[1];
      if (pid !== undefined && startOf(Number(pid)) === undefined) unlinkSync(join(folder, name));
    }
  }

  /** Rejects when the system makes none. */
  async take(): Promise<Pipe> {
    for (let pipe; ; await this.make()) {
      pipe = this.#ready.pop();
      if (!pipe) continue;
      if (this.#ready.length < FEW) this.make().catch(() => {});
      return pipe;
    }
  }

  /** One batch at a time. */
  make(): Promise<void> {
    this.#making ??= this.#make().finally(() => (this.#making = undefined));
    return this.#making;
  }

  async #make(): Promise<void> {
    const paths = Array.from({ length: BATCH }, () =>
      join(this.folder, `.pipe-${process.pid}-${this.#made++}`),
    );
    try {
      await promisify(execFile)('mkfifo', ['-m', '666', ...paths], { env: { PATH } });
      for (const path of paths) this.#ready.push(opened(path));
    } finally {
      for (const path of paths) {
        try {
          unlinkSync(path);
        } catch {
          // Was not made.
        }
      }
    }
  }
}

function opened(path: string): Pipe {
  // In this order: without a reader to open for writing would wait for one.
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return { reader, writer: openSync(path, constants.O_WRONLY) };
  } catch (error) {
    closeSync(reader);
    throw error;
  }
}
