import type { Readable } from 'node:stream';
import type { OutputSink } from '../executor.js';
import { Demultiplexer } from './demultiplexer.js';
import type { Piece } from './demultiplexer.js';
import type { KeptFrames } from './kept-frames.js';

/** Stops and resumes what writes the output; both may fail. */
export interface Brake {
  hold(): Promise<void>;
  release(): Promise<void>;
}

type Output = Pick<Piece, 'stream' | 'bytes'>;

/** Raw bytes per stream. */
export type Counts = Record<Piece['stream'], number>;

const HIGH = 4 * 1024 * 1024;
const LOW = 1024 * 1024;
/** Pieces are joined up to this size before the sink gets them. */
const JOINED = 256 * 1024;

/**
 * Carries a container's output from the engine to the sink, in bounded memory.
 *
 * Simply not reading would be enough back-pressure for the step, but not safe: when a container exits, the
 * engine waits two seconds for its readers and then throws away what is still in the pipe, from its own log
 * too. So the stream is always read; when more than 4 MiB wait for the sink, the *container* is frozen until
 * less than 1 MiB does. A frozen container cannot exit. Where it cannot be frozen, or when it shall end, the
 * stream itself is paused.
 */
export class StepOutput {
  /** Bytes that the sink has taken. */
  readonly taken: Counts;
  /** True when the stream ended as it should; settles after the sink took the last byte; never rejects. */
  readonly done: Promise<boolean>;
  /** What the sink threw; from then on output is read and dropped. */
  failure: unknown;
  readonly #queue: Output[] = [];
  readonly #skip: Counts;
  #queued = 0;
  #ended = false;
  #whole = true;
  #held: Promise<boolean> | undefined;
  #wake = (): void => {};

  constructor(
    private readonly stream: Readable,
    private readonly sink: OutputSink,
    private brake: Brake | undefined,
    /** Bytes at the beginning that were taken before. */
    skip: Counts = { stdout: 0, stderr: 0 },
    private readonly frames: Demultiplexer | KeptFrames = new Demultiplexer(),
  ) {
    this.taken = { ...skip };
    this.#skip = { ...skip };
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    const end = (whole: boolean): void => {
      if (!whole || this.frames.torn) this.#whole = false;
      this.#ended = true;
      this.#wake();
    };
    stream.on('error', () => end(false));
    stream.on('aborted', () => end(false));
    stream.on('end', () => end(true));
    stream.on('close', () => {
      if (!this.#ended) end(false);
    });
    this.done = this.#carry();
  }

  /** Whether the container is frozen because of what waits here, or about to be. */
  get holds(): boolean {
    return this.#held !== undefined;
  }

  /** From here on the container is not frozen any more, so that it can end. */
  async letGo(): Promise<void> {
    const { brake } = this;
    this.brake = undefined;
    if (await this.#held) await brake?.release().catch(() => {});
  }

  /** Gives the stream up: what was not read by now is not waited for. */
  cut(): void {
    this.stream.destroy(new Error('cut'));
  }

  #receive(chunk: Buffer): void {
    try {
      for (const piece of this.frames.push(chunk)) this.#enqueue(piece);
    } catch (error) {
      this.stream.destroy(error as Error);
    }
    if (this.#queued > HIGH) this.#hold();
    if (this.#queued > 4 * HIGH) this.stream.pause();
    this.#wake();
  }

  #enqueue(piece: Piece): void {
    const { stream } = piece;
    const skipped = Math.min(this.#skip[stream], piece.bytes.length);
    this.#skip[stream] -= skipped;
    const bytes = skipped > 0 ? piece.bytes.subarray(skipped) : piece.bytes;
    if (bytes.length === 0 || this.failure !== undefined) return;
    this.#queue.push({ stream, bytes });
    this.#queued += bytes.length;
  }

  #hold(): void {
    if (this.#held) return;
    const { brake } = this;
    if (!brake) {
      this.stream.pause();
      return;
    }
    this.#held = brake.hold().then(
      () => true,
      () => {
        // It ended meanwhile, or this engine cannot freeze.
        if (this.#queued > HIGH) this.stream.pause();
        return false;
      },
    );
  }

  async #release(): Promise<void> {
    if (this.#held && (await this.#held)) await this.brake?.release().catch(() => {});
    this.#held = undefined;
    this.stream.resume();
  }

  async #carry(): Promise<boolean> {
    for (;;) {
      const piece = this.#next();
      if (piece) {
        await this.#give(piece);
        if (this.#queued < LOW && (this.#held || this.stream.isPaused())) await this.#release();
      } else if (this.#ended) {
        return this.#whole;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  async #give({ stream, bytes }: Output): Promise<void> {
    try {
      if (this.failure === undefined) await this.sink(stream, bytes);
    } catch (error) {
      this.failure = error ?? new Error('the output could not be taken');
      this.#queue.length = 0;
      this.#queued = bytes.length;
    }
    this.taken[stream] += bytes.length;
    this.#queued -= bytes.length;
  }

  /** The oldest pieces of one stream, joined. */
  #next(): Output | undefined {
    const first = this.#queue[0];
    if (!first) return undefined;
    let count = 0;
    let size = 0;
    for (const { stream, bytes } of this.#queue) {
      if (stream !== first.stream || (count > 0 && size + bytes.length > JOINED)) break;
      count++;
      size += bytes.length;
    }
    const pieces = this.#queue.splice(0, count);
    if (count === 1) return first;
    return {
      stream: first.stream,
      bytes: Buffer.concat(
        pieces.map(({ bytes }) => bytes),
        size,
      ),
    };
  }
}
