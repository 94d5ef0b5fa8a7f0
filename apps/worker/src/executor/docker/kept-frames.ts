import { Demultiplexer, type Piece } from './demultiplexer.js';

/** The engine keeps a line in parts of this size, and a shorter last one. */
const PART_BYTES = 16 * 1024;
const SPACE = 0x20;
const NEWLINE = Buffer.from('\n');

interface Lane {
  /** Of the frame that is read. */
  frame: number;
  /** When the line of the frame began, as the engine tells it before the frame; its end is not read yet if not `stamped`. */
  stamp: string;
  stamped: boolean;
  /** Of the frame, without its stamp. */
  length: number;
  last: number;
  /** The stamp of a line of which parts were read, and no end. */
  open: string | undefined;
}

/**
 * Takes the output apart that the engine has kept, asked for with timestamps, and gives each line its newline again.
 *
 * One frame is one message of the engine's log. An engine (20.10, measured) forgets the newline of a line that is longer
 * than 16 KiB: its parts have none, and neither has its last one. The last part is told by its length, which may be 0, and by the
 * stamp that all parts of a line have in common; another frame behind it says that the line had an end.
 */
export class KeptFrames {
  readonly #demux = new Demultiplexer();
  readonly #lanes = new Map<Piece['stream'], Lane>();

  /** Throws when the bytes are no frames. */
  push(chunk: Buffer): Piece[] {
    return this.#demux.push(chunk).flatMap((piece) => this.#take(piece));
  }

  get torn(): boolean {
    return this.#demux.torn;
  }

  /** Once the input is over: the streams that may or may not have had one more newline at their end. */
  get unsure(): Piece['stream'][] {
    return [...this.#lanes].filter(([, lane]) => isLastPart(lane)).map(([stream]) => stream);
  }

  #take({ stream, bytes, frame }: Piece): Piece[] {
    const lane = this.#lanes.get(stream) ?? newLane(frame);
    this.#lanes.set(stream, lane);
    let ended: string | undefined;
    let due = false;
    if (frame !== lane.frame) {
      due = isLastPart(lane);
      ended = isPart(lane) ? lane.stamp : undefined;
      Object.assign(lane, newLane(frame), { open: ended });
    }
    const pieces: Piece[] = due ? [{ stream, bytes: NEWLINE, frame }] : [];
    const content = lane.stamped ? bytes : stampOf(lane, bytes);
    if (!lane.stamped) return pieces;
    if (lane.length === 0 && lane.open !== undefined && lane.open !== lane.stamp) {
      // another line, though the end of the one before was not told
      lane.open = undefined;
      pieces.push({ stream, bytes: NEWLINE, frame });
    }
    if (content.length === 0) return pieces;
    lane.length += content.length;
    lane.last = content.at(-1) ?? 0;
    return [...pieces, { stream, bytes: content, frame }];
  }
}

const newLane = (frame: number): Lane => ({
  frame,
  stamp: '',
  stamped: false,
  length: 0,
  last: 0,
  open: undefined,
});

const endsLine = ({ length, last }: Lane): boolean => length > 0 && last === NEWLINE[0];

const isPart = (lane: Lane): boolean => !endsLine(lane) && lane.length >= PART_BYTES;

const isLastPart = (lane: Lane): boolean =>
  lane.open !== undefined && !endsLine(lane) && !isPart(lane);

/** Takes what is there of the stamp; gives what follows it. */
function stampOf(lane: Lane, bytes: Buffer): Buffer {
  const end = bytes.indexOf(SPACE);
  lane.stamp += bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
  lane.stamped = end >= 0;
  return bytes.subarray(end < 0 ? bytes.length : end + 1);
}
