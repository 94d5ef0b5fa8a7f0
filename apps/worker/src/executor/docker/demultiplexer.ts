/** A piece of output, of one stream. */
export interface Piece {
  stream: 'stdout' | 'stderr';
  bytes: Buffer;
  /** Counts the frames from which pieces come. */
  frame: number;
}

const HEADER = 8;

/**
 * Takes the engine's multiplexed output apart: frames of `{stream, 0, 0, 0, length}` (8 bytes, length big
 * endian) and payload. Holds no payload back and copies none, so a frame may be of any length. The client's own
 * demultiplexer joins buffers per chunk and knows no back-pressure.
 */
export class Demultiplexer {
  readonly #header = Buffer.alloc(HEADER);
  #have = 0;
  #frame = 0;
  #left = 0;
  #stream: Piece['stream'] = 'stdout';

  /** Throws when the bytes are no frames. */
  push(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left);
        const bytes = chunk.subarray(at, end);
        pieces.push({ stream: this.#stream, bytes, frame: this.#frame });
        this.#left -= end - at;
        at = end;
        continue;
      }
      const taken = chunk.copy(this.#header, this.#have, at, at + HEADER - this.#have);
      this.#have += taken;
      at += taken;
      if (this.#have === HEADER) this.#open();
    }
    return pieces;
  }

  /** True when the input ended in the middle of a frame: something is missing. */
  get torn(): boolean {
    return this.#left > 0 || this.#have > 0;
  }

  #open(): void {
    const type = this.#header[0] ?? 0;
    if (type > 2 || this.#header.readUIntBE(1, 3) !== 0) {
      throw new Error(`no frame of container output: ${this.#header.toString('hex')}`);
    }
    this.#stream = type === 2 ? 'stderr' : 'stdout';
    this.#left = this.#header.readUInt32BE(4);
    this.#have = 0;
    this.#frame += 1;
  }
}
